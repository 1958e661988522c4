/* Where Wine does not do what Windows does: a line for each reason of wine.txt that holds here. All of it
 * happens on 127.0.0.1. Ends with 2 if the question could not be asked. */
#include <winsock2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct sockaddr_in loopback(const char *address) {
    struct sockaddr_in at = {AF_INET};
    at.sin_addr.s_addr = inet_addr(address);
    return at;
}

static SOCKET bound(int type, struct sockaddr_in *at) {
    int size = sizeof *at;
    SOCKET own = socket(AF_INET, type, 0);
    if (own == INVALID_SOCKET || bind(own, (struct sockaddr *)at, size) ||
        getsockname(own, (struct sockaddr *)at, &size))
        exit(2);
    return own;
}

/* Windows resets a connection that is closed with a linger of zero seconds. Wine shuts the socket down
 * first, which sends FIN. */
static void reset(void) {
    struct sockaddr_in at = loopback("127.0.0.1");
    SOCKET listener = bound(SOCK_STREAM, &at), one = socket(AF_INET, SOCK_STREAM, 0), other;
    struct linger now = {1, 0};
    char byte;
    int got;

    if (listen(listener, 1) || connect(one, (struct sockaddr *)&at, sizeof at)) exit(2);
    other = accept(listener, 0, 0);
    if (setsockopt(other, SOL_SOCKET, SO_LINGER, (char *)&now, sizeof now)) exit(2);
    closesocket(other);
    got = recv(one, &byte, 1, 0);
    if (got == 0) puts("reset");
    else if (got > 0 || WSAGetLastError() != WSAECONNRESET) exit(2);
}

/* On Windows all of 127.0.0.0/8 is this host, and what is sent from 127.0.0.7 comes from there. */
static void address(void) {
    struct sockaddr_in to = loopback("127.0.0.1"), from = loopback("127.0.0.7"), seen;
    SOCKET ear = bound(SOCK_DGRAM, &to), mouth = bound(SOCK_DGRAM, &from);
    int size = sizeof seen;
    char byte = 7;

    if (sendto(mouth, &byte, 1, 0, (struct sockaddr *)&to, sizeof to) != 1 ||
        recvfrom(ear, &byte, 1, 0, (struct sockaddr *)&seen, &size) != 1)
        exit(2);
    if (seen.sin_addr.s_addr != from.sin_addr.s_addr) puts("address");
}

/* Windows calls what a program has in its table of thread-local storage also when the process ends: Rust
 * drops a thread's values there. The process that this starts ends with 7 if so. */
static const char *role = "ends";
static int is_child, was_called;

static void NTAPI at_end(PVOID module, DWORD why, PVOID reserved) {
    (void)module, (void)reserved;
    was_called = 1; /* when the process began */
    if (why == DLL_PROCESS_DETACH && is_child) TerminateProcess(GetCurrentProcess(), 7);
}
__attribute__((section(".CRT$XLF"), used)) PIMAGE_TLS_CALLBACK called = at_end;

static void at_exit(void) {
    STARTUPINFOA start = {sizeof start};
    PROCESS_INFORMATION child;
    char own[MAX_PATH], line[MAX_PATH + 16];
    DWORD code;

    if (!was_called) exit(2);
    GetModuleFileNameA(0, own, sizeof own);
    snprintf(line, sizeof line, "\"%s\" %s", own, role);
    if (!CreateProcessA(0, line, 0, 0, 1, 0, 0, 0, &start, &child)) exit(2);
    WaitForSingleObject(child.hProcess, INFINITE);
    if (!GetExitCodeProcess(child.hProcess, &code)) exit(2);
    if (code == 0) puts("exit");
    else if (code != 7) exit(2);
}

int main(int count, char **words) {
    WSADATA data;
    if (count > 1 && !strcmp(words[1], role)) {
        is_child = 1;
        ExitProcess(0);
    }
    WSAStartup(MAKEWORD(2, 2), &data);
    reset();
    address();
    at_exit();
    return 0;
}
