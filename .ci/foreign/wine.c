/* Where Wine does not do what Windows does: a line for each reason of wine.txt that holds here. All of it
 * happens on 127.0.0.1. Ends with 2 if the question could not be asked. */
#include <winsock2.h>
#include <stdio.h>
#include <stdlib.h>

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

int main(void) {
    WSADATA data;
    WSAStartup(MAKEWORD(2, 2), &data);
    reset();
    address();
    return 0;
}
