/* crash-test
about = "open descriptors of every kind"
signal = "SIGSEGV"
code = "SEGV_MAPERR"
cause = "null-pointer"
frames = ["fault_here", "main"]
flags = "-g -O1"
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include "ready.h"

KEEP int fault_here(int *where) {
    *(volatile int *)where = 1;
    AFTER_CALL;
    return 1;
}

static int tcp_listener(int family) {
    int fd = socket(family, SOCK_STREAM, 0);
    struct sockaddr_storage any = {.ss_family = (sa_family_t)family};
    if (family == AF_INET) ((struct sockaddr_in *)&any)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else ((struct sockaddr_in6 *)&any)->sin6_addr = in6addr_loopback;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0) listen(fd, 5);
    return fd;
}

int main(void) {
    int pipes[2], pair[2];
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    int listener = tcp_listener(AF_INET);
    tcp_listener(AF_INET6);
    getsockname(listener, (struct sockaddr *)&address, &size);
    int client = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(client, (struct sockaddr *)&address, size)) return 1;
    if (accept(listener, NULL, NULL) < 0) return 2;
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (connect(udp, (struct sockaddr *)&address, size)) return 3;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "usercrash test %d", getpid());
    int local = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(local, (struct sockaddr *)&name, sizeof(sa_family_t) + 1 + strlen(name.sun_path + 1)) || listen(local, 1)) return 4;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) || pipe(pipes)) return 5;
    struct sockaddr_nl any = {.nl_family = AF_NETLINK}; /* unbound ones are in no list of /proc */
    int netlink = socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE);
    if (bind(netlink, (struct sockaddr *)&any, sizeof any)) return 7;
    eventfd(42, 0);
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    int timer = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec later = {.it_value.tv_sec = 3600};
    timerfd_settime(timer, 0, &later, NULL);
    memfd_create("a memfd", 0);
    int watch = inotify_init();
    inotify_add_watch(watch, "/", IN_CREATE);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    signalfd(-1, &set, 0);
    syscall(SYS_pidfd_open, getpid(), 0);
    char gone[] = "/tmp/usercrash-test-XXXXXX";
    int file = mkstemp(gone);
    if (write(file, "twelve bytes", 12) != 12) return 6;
    unlink(gone);
    open("/", O_RDONLY | O_DIRECTORY);
    open("/dev/null", O_RDWR | O_CLOEXEC);
    int value = fault_here(NULL);
    AFTER_CALL;
    return value;
}
