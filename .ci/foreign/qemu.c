/* Where qemu's emulation of a processor differs from a Linux of that processor: a line for each reason of
 * qemu.txt that holds here. All of it happens on 127.0.0.1. Ends with 2 if the question could not be asked. */
#include <arpa/inet.h>
#include <linux/netlink.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* /proc/net/tcp shows an address as a number of the processor's. Here it is one of the processor that
 * emulates, which is another where the order of bytes differs. */
static int order(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    char line[512], own[32];
    FILE *table;
    int port = 0, found = 0;

    if (bind(listener, (struct sockaddr *)&at, size) || listen(listener, 1) ||
        getsockname(listener, (struct sockaddr *)&at, &size) || !(table = fopen("/proc/net/tcp", "r")))
        return 2;
    snprintf(own, sizeof own, "%08X:%04X", at.sin_addr.s_addr, ntohs(at.sin_port));
    while (fgets(line, sizeof line, table)) {
        char address[9], number[5], shown[32];
        if (sscanf(line, " %*d: %8[0-9A-F]:%4[0-9A-F] ", address, number) != 2) continue;
        snprintf(shown, sizeof shown, "%s:%s", address, number);
        if (!strcmp(shown, own)) found = 1;
        snprintf(line, sizeof line, "%04X", ntohs(at.sin_port));
        if (!strcmp(number, line)) port = 1;
    }
    fclose(table);
    if (!port) return 2;
    if (!found) puts("order");
    return 0;
}

/* A Linux answers sock_diag(7). */
static void diag(void) {
    if (socket(AF_NETLINK, SOCK_DGRAM, 4 /* NETLINK_SOCK_DIAG */) < 0) puts("diag");
}

int main(void) {
    diag();
    return order();
}
