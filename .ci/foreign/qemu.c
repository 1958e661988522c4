/* Where qemu's emulation of a processor differs from a Linux of that processor: a line for each reason of
 * qemu.txt that holds here. All of it happens on 127.0.0.1. Ends with 2 if the question could not be asked. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
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

/* A datagram may name the interface by which it leaves, by its number. Here the order of that number's bytes
 * is not changed on the way to the system, which has no such interface then. */
static int interface(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(struct in_pktinfo))];
    } control = {0};
    struct iovec part = {.iov_base = "x", .iov_len = 1};
    struct msghdr message = {.msg_name = &at,
                             .msg_namelen = size,
                             .msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct in_pktinfo info = {.ipi_ifindex = if_nametoindex("lo")};
    int ear = socket(AF_INET, SOCK_DGRAM, 0);

    if (!info.ipi_ifindex || bind(ear, (struct sockaddr *)&at, size) ||
        getsockname(ear, (struct sockaddr *)&at, &size))
        return 2;
    control.header.cmsg_level = IPPROTO_IP;
    control.header.cmsg_type = IP_PKTINFO;
    control.header.cmsg_len = CMSG_LEN(sizeof info);
    memcpy(CMSG_DATA(&control.header), &info, sizeof info);
    if (sendmsg(ear, &message, 0) != 1) puts("interface");
    return 0;
}

int main(void) {
    return interface() || order() ? 2 : 0;
}
