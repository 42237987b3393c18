/* I7: for each `FAMILY ADDRESS PORT` among the arguments, whether a stream or a datagram gets anywhere. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *stream(const struct sockaddr *address, socklen_t length) {
    int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0) return strerrorname_np(errno);
    if (connect(fd, address, length) == 0) return "connected";
    if (errno != EINPROGRESS) return strerrorname_np(errno);
    struct pollfd one = {fd, POLLOUT, 0};
    if (poll(&one, 1, 1000) == 0) return "silence";
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    close(fd);
    return error ? strerrorname_np(error) : "connected";
}

static const char *datagram(const struct sockaddr *address, socklen_t length) {
    int fd = socket(address->sa_family, SOCK_DGRAM, 0);
    if (fd < 0) return strerrorname_np(errno);
    const char *told = sendto(fd, "x", 1, MSG_DONTWAIT, address, length) == 1 ? "sent" : strerrorname_np(errno);
    if (strcmp(told, "sent") != 0 && connect(fd, address, length) == 0 && send(fd, "x", 1, MSG_DONTWAIT) == 1) told = "sent";
    close(fd);
    return told;
}

static void socket_of(const char *name, int family, int kind, int protocol) {
    int fd = socket(family, kind, protocol);
    if (fd >= 0) printf("socket %s\n", name);
    if (fd >= 0) close(fd);
}

int main(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2) {
        struct sockaddr_in six_of_four;
        struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)atoi(argv[i + 1]))};
        six_of_four = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = six.sin6_port};
        const struct sockaddr *address = (const struct sockaddr *)&six;
        socklen_t length = sizeof six;
        if (inet_pton(AF_INET, argv[i], &six_of_four.sin_addr) == 1) {
            address = (const struct sockaddr *)&six_of_four;
            length = sizeof six_of_four;
        } else if (inet_pton(AF_INET6, argv[i], &six.sin6_addr) != 1) {
            return 2;
        } else {
            six.sin6_scope_id = strncmp(argv[i], "fe80", 4) == 0 ? 2 : 0;
        }
        printf("stream %s %s %s\n", argv[i], argv[i + 1], stream(address, length));
        printf("datagram %s %s %s\n", argv[i], argv[i + 1], datagram(address, length));
    }
    socket_of("netlink", AF_NETLINK, SOCK_RAW, 0);
    socket_of("packet", AF_PACKET, SOCK_RAW, 0);
    socket_of("raw", AF_INET, SOCK_RAW, 1);
    socket_of("vsock", AF_VSOCK, SOCK_STREAM, 0);
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) == 0)
        for (struct ifaddrs *one = all; one; one = one->ifa_next)
            if (strcmp(one->ifa_name, "lo") != 0) printf("interface %s\n", one->ifa_name);
    puts("looked");
    return 0;
}
