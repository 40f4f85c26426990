/* The load generator, and the fastest echo server to compare with.
 *
 *   load PORT SOURCES OUTSTANDING WARM_UP SECONDS   prints: answers seconds lost stale wrong
 *   load echo                                       prints its port, then echoes until it is killed (Linux)
 *
 * Many source sockets on loopback, polled without sleeping; a fixed number of requests outstanding, each answer
 * followed at once by the next request. What is not answered in time is counted as lost and asked anew, so a lost
 * datagram never stalls the run. Requests are valid `tu1` (trio_udp/proto/_codec.py), and every answer is compared
 * byte by byte with the one right answer: the request with the direction bit set. benchmarks/load.py does the same.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { HEADER = 24, PAYLOAD = 64, SIZE = HEADER + PAYLOAD, MAX_OUTSTANDING = 65536, BATCH = 64 };
static const int RECEIVE_BUFFER = 4 << 20;
static const double LOST_AFTER = 0.2, LOOK_EVERY = 0.02; /* seconds */

struct slot {
    int fd;
    uint64_t number; /* of the open request: how often this slot was used, and in the low 16 bits which slot it is */
    double sent;
};

static struct slot slots[MAX_OUTSTANDING];

static void die(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int open_socket(int port, int (*use)(int, const struct sockaddr *, socklen_t)) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &RECEIVE_BUFFER, sizeof RECEIVE_BUFFER);
    if (fd < 0 || use(fd, (struct sockaddr *)&address, sizeof address)) die("socket");
    return fd;
}

/* version, type, flags, attempt, key id, reserved, payload length (2); instance id (8); request id (8); payload */
static void write_message(unsigned char *data, unsigned char type, uint64_t number) {
    static const unsigned char start[16] = {9, 0, 0, 1, 0, 0, 0, PAYLOAD, 'b', 'e', 'n', 'c', 'h', 'm', 'r', 'k'};
    memcpy(data, start, sizeof start);
    data[1] = type;
    for (int at = sizeof start; at < SIZE; at += sizeof number) memcpy(data + at, &number, sizeof number);
}

static void ask(struct slot *slot, double when) {
    unsigned char data[SIZE];
    slot->number += 1 << 16;
    slot->sent = when;
    write_message(data, 0x01, slot->number);
    send(slot->fd, data, SIZE, MSG_DONTWAIT); /* a failure is a lost request, asked anew in time */
}

static int load(int port, int sources, int outstanding, double warm_up, double seconds) {
    unsigned char data[2048], expected[SIZE];
    uint64_t number;
    long answers = 0, lost = 0, stale = 0, wrong = 0;
    if (sources < 1 || outstanding < sources || outstanding > MAX_OUTSTANDING) return 2;
    double begin = now(), looked = begin, t = begin;
    for (int i = 0; i < outstanding; i++) {
        slots[i].fd = i < sources ? open_socket(port, connect) : slots[i % sources].fd;
        slots[i].number = i;
        ask(&slots[i], begin);
    }
    int warm = 0;
    while (!warm || t < begin + seconds) {
        for (int s = 0; s < sources; s++) {
            ssize_t size;
            while ((size = recv(slots[s].fd, data, sizeof data, MSG_DONTWAIT)) >= 0) {
                if (size != SIZE) { wrong++; continue; }
                memcpy(&number, data + 16, sizeof number);
                write_message(expected, 0x81, number);
                struct slot *slot = &slots[number & 0xffff];
                if (memcmp(data, expected, SIZE) || slot->fd != slots[s].fd || number > slot->number) wrong++;
                else if (number != slot->number) stale++;
                else { answers++; ask(slot, t); }
            }
        }
        t = now();
        if (!warm && t >= begin + warm_up) {
            warm = 1;
            begin = t;
            answers = lost = stale = 0;
        }
        if (t < looked + LOOK_EVERY) continue;
        looked = t;
        for (int i = 0; i < outstanding; i++)
            if (slots[i].sent < t - LOST_AFTER) { lost++; ask(&slots[i], t); }
    }
    printf("%ld %.6f %ld %ld %ld\n", answers, t - begin, lost, stale, wrong);
    return 0;
}

static void echo(void) {
#ifdef __linux__
    static unsigned char data[BATCH][2048];
    struct sockaddr_in peers[BATCH], own;
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    socklen_t length = sizeof own;
    int fd = open_socket(0, bind);
    if (getsockname(fd, (struct sockaddr *)&own, &length)) die("getsockname");
    printf("%d\n", ntohs(own.sin_port));
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){data[i], sizeof data[i]};
            messages[i].msg_hdr = (struct msghdr){&peers[i], sizeof peers[i], &parts[i], 1, NULL, 0, 0};
        }
        int count = recvmmsg(fd, messages, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < count; i++) {
            data[i][1] = 0x81;
            parts[i].iov_len = messages[i].msg_len;
        }
        for (int sent = 0; sent < count;) {
            int more = sendmmsg(fd, messages + sent, count - sent, 0);
            sent += more > 0 ? more : 1; /* what cannot be sent is lost */
        }
    }
#else
    fprintf(stderr, "recvmmsg and sendmmsg are Linux's\n");
    exit(1);
#endif
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "echo")) echo();
    if (argc != 6) return 2;
    return load(atoi(argv[1]), atoi(argv[2]), atoi(argv[3]), atof(argv[4]), atof(argv[5]));
}
