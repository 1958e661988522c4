/* What a socket that is closed with SO_LINGER of zero seconds does to the other end: reset it, as
 * Windows does, or end its input, as Wine does. Says which, on 127.0.0.1. */
#include <winsock2.h>
#include <stdio.h>

int main(void) {
    WSADATA data;
    struct sockaddr_in at = {AF_INET};
    int size = sizeof at, got;
    struct linger now = {1, 0};
    char byte;
    SOCKET listener, one, other;

    WSAStartup(MAKEWORD(2, 2), &data);
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listener = socket(AF_INET, SOCK_STREAM, 0);
    bind(listener, (struct sockaddr *)&at, size);
    getsockname(listener, (struct sockaddr *)&at, &size);
    listen(listener, 1);
    one = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(one, (struct sockaddr *)&at, size)) return 2;
    other = accept(listener, 0, 0);
    if (setsockopt(other, SOL_SOCKET, SO_LINGER, (char *)&now, sizeof now)) return 2;
    closesocket(other);
    got = recv(one, &byte, 1, 0);
    if (got == 0) puts("FIN");
    else if (got < 0 && WSAGetLastError() == WSAECONNRESET) puts("RST");
    else return 2;
    return 0;
}
