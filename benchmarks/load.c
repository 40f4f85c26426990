/* The load generator, and the fastest echo servers to compare with. Linux.
 *
 *   load tu1|keyed|dns|irtt PORT SOURCES OUTSTANDING PAYLOAD JUNK WARM_UP SECONDS
 *                      prints: answers seconds lost stale wrong median-us p99-us
 *   load echo-many     prints its port, then echoes until it is killed: recvmmsg and sendmmsg
 *   load echo-one      the same with recvfrom and sendto
 *   load echo-spin     the same without ever sleeping
 *
 * Many source sockets on loopback, polled without sleeping; a fixed number of requests outstanding, each answer
 * followed at once by the next request. What is not answered in time is counted as lost and asked anew, so a lost
 * datagram never stalls the run. A short run goes on until there is an answer, within reason. Where there are more sources than requests outstanding, these go round.
 *
 * `tu1`: valid requests (trio_udp/proto/_codec.py), and every answer is compared byte by byte with the one right answer:
 * the request with the direction bit set. `dns`: a question for an A record of a name that is never asked for twice
 * (PAYLOAD means nothing); an answer must have its id, its question, and a record at least.
 *
 * `irtt`: what its own client sends, without statistics and time stamps; each source has opened a connection before. The
 * server repeats the sequence number and fills the rest as it likes.
 *
 * JUNK: the percentage of all datagrams that are random bytes, which nobody may answer. 100 is a flood besides the
 * requests, as fast as the kernel takes it.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "blake2b.h"

enum {
    HEADER = 24,
    MAX_DATAGRAM = 65507,
    MAX_OUTSTANDING = 65536,
    MAX_SOURCES = 65536,
    BATCH = 64,
    FLOOD = 100,
    TICKS = 2000000 /* of the histogram, a tenth of a microsecond each: up to LOST_AFTER */
};
static const int RECEIVE_BUFFER = 4 << 20;
static const double LOST_AFTER = 0.2, LOOK_EVERY = 0.02, PATIENCE = 5, TICK = 1e-7; /* seconds */

struct slot {
    int source;
    uint64_t number; /* of the open request: how often this slot was used, and in the low 16 bits which slot it is */
    double sent;
};

/* How a protocol is spoken. Both return the length. */
struct protocol {
    const char *name;
    int (*write)(unsigned char *data, uint64_t number);
    int (*read)(const unsigned char *data, int size, uint64_t *number); /* 0: not a right answer to any request */
    void (*open)(int source); /* NULL: nothing is to be said before the first request */
};

static struct slot slots[MAX_OUTSTANDING];
static int sources[MAX_SOURCES], source_count, outstanding, payload, junk;
static unsigned char tokens[MAX_SOURCES][8];
static unsigned char noise[2 * MAX_DATAGRAM];
static unsigned histogram[TICKS + 1];
static double junk_due;
static const struct protocol *protocol;

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

/* tu1: version, type, flags, attempt, key id, reserved, payload length (2); instance id (8); request id (8); payload */

static int write_tu1(unsigned char *data, unsigned char type, uint64_t number) {
    const unsigned char start[16] = {9, type, 0, 1, 0, 0, payload >> 8, payload, 'b', 'e', 'n', 'c', 'h', 'm', 'r', 'k'};
    memcpy(data, start, sizeof start);
    for (int at = sizeof start; at < HEADER + payload; at += sizeof number) memcpy(data + at, &number, sizeof number);
    return HEADER + payload;
}

static int write_tu1_request(unsigned char *data, uint64_t number) { return write_tu1(data, 0x01, number); }

static int read_tu1_answer(const unsigned char *data, int size, uint64_t *number) {
    static unsigned char expected[MAX_DATAGRAM + 8];
    if (size != HEADER + payload) return 0;
    memcpy(number, data + 16, sizeof *number);
    write_tu1(expected, 0x81, *number);
    return memcmp(data, expected, size) ? 0 : size;
}

/* keyed: the same with flag 1, key id 1, and a tag by the key of 32 zero bytes at the end; an answer's tag covers its
 * request's first */

static int write_keyed(unsigned char *data, unsigned char type, uint64_t number) {
    int size = write_tu1(data, type, number);
    data[2] = data[4] = 1;
    return size;
}

static const uint64_t *begun(const char *person, uint64_t *state) {
    static const unsigned char key[32];
    if (!state[0]) blake2b_begin(state, key, person);
    return state;
}

static int write_keyed_request(unsigned char *data, uint64_t number) {
    static uint64_t state[8];
    int size = write_keyed(data, 0x01, number);
    blake2b_tag(begun("tu1 request", state), data, size, data + size);
    return size + BLAKE2B_TAG;
}

static int read_keyed_answer(const unsigned char *data, int size, uint64_t *number) {
    static unsigned char request[MAX_DATAGRAM + 8], expected[MAX_DATAGRAM + 8 + BLAKE2B_TAG];
    static uint64_t state[8];
    if (size != HEADER + payload + BLAKE2B_TAG) return 0;
    memcpy(number, data + 16, sizeof *number);
    int length = write_keyed_request(request, *number) - BLAKE2B_TAG;
    memcpy(expected, request + length, BLAKE2B_TAG);
    write_keyed(expected + BLAKE2B_TAG, 0x81, *number);
    blake2b_tag(begun("tu1 answer", state), expected, BLAKE2B_TAG + length, expected + BLAKE2B_TAG + length);
    return memcmp(data, expected + BLAKE2B_TAG, size) ? 0 : size;
}

/* dns, RFC 1035: id, flags, four counts (2 each); a question: name, type, class */

static int write_dns_question(unsigned char *data, uint64_t number) {
    static const unsigned char flags_and_counts[10] = {1, 0, 0, 1};
    static const unsigned char rest[] = {7, 'e', 'x', 'a', 'm', 'p', 'l', 'e', 0, 0, 1, 0, 1};
    data[0] = number >> 8;
    data[1] = number;
    memcpy(data + 2, flags_and_counts, sizeof flags_and_counts);
    int label = sprintf((char *)data + 13, "q%016llx", (unsigned long long)number);
    data[12] = label;
    memcpy(data + 13 + label, rest, sizeof rest);
    return 13 + label + sizeof rest;
}

static int read_dns_answer(const unsigned char *data, int size, uint64_t *number) {
    unsigned char expected[512];
    char digits[17] = {0};
    if (size < 43) return 0;
    memcpy(digits, data + 14, 16);
    *number = strtoull(digits, NULL, 16);
    int length = write_dns_question(expected, *number);
    int is_answer = data[2] & 0x80 && !(data[3] & 0x0f) && (data[6] || data[7]);
    return is_answer && size > length && !memcmp(data, expected, 2) && !memcmp(data + 12, expected + 12, length - 12);
}

/* irtt 0.9: magic (3), flags (1), connection token (8); then a sequence number (4, little-endian) and a payload, or, where
 * a connection is opened, pairs of a parameter and its value, both in the variable-length integers of Protocol Buffers. */

enum { IRTT_OPEN = 1, IRTT_REPLY = 2, IRTT_HEADER = 12 };

static int write_irtt_header(unsigned char *data, unsigned char flags, int source) {
    static const unsigned char magic[3] = {0x14, 0xa7, 0x5b};
    memcpy(data, magic, sizeof magic);
    data[3] = flags;
    memcpy(data + 4, tokens[source], sizeof tokens[source]);
    return IRTT_HEADER;
}

static int write_irtt_request(unsigned char *data, uint64_t number) {
    uint32_t sequence = number;
    memset(data, 0, HEADER + payload);
    memcpy(data + write_irtt_header(data, 0, slots[number & 0xffff].source), &sequence, sizeof sequence);
    return HEADER + payload;
}

static int read_irtt_answer(const unsigned char *data, int size, uint64_t *number) {
    uint32_t sequence;
    if (size != HEADER + payload || data[3] != IRTT_REPLY) return 0;
    memcpy(&sequence, data + IRTT_HEADER, sizeof sequence);
    struct slot *slot = &slots[sequence & 0xffff];
    *number = slot->number - (uint32_t)(slot->number - sequence); /* the latest one that ends like this */
    return !memcmp(data + 4, tokens[slot->source], sizeof tokens[0]) || *number != slot->number;
}

static void open_irtt(int source) {
    /* version 1; a duration of a minute; an interval of 1 ns; the length; no statistics, no stamps, both clocks */
    unsigned char data[2048], start[] = {1, 2, 2, 0x80, 0xe0, 0xba, 0x84, 0xbf, 0x03, 3, 2, 4, 0, 0, 5, 0, 6, 0, 7, 6};
    int length = 2 * (HEADER + payload);
    start[12] = length | 0x80;
    start[13] = length >> 7;
    memcpy(data, (unsigned char[]){0x14, 0xa7, 0x5b, IRTT_OPEN}, 4);
    memcpy(data + 4, start, sizeof start);
    for (int tries = 0; tries < 100; tries++) {
        send(sources[source], data, 4 + sizeof start, 0);
        for (double end = now() + 0.05; now() < end;) {
            unsigned char reply[2048];
            ssize_t size = recv(sources[source], reply, sizeof reply, MSG_DONTWAIT);
            if (size >= IRTT_HEADER && reply[3] == (IRTT_OPEN | IRTT_REPLY)) {
                memcpy(tokens[source], reply + 4, sizeof tokens[source]);
                return;
            }
        }
    }
    die("irtt's server does not answer");
}

static const struct protocol protocols[] = {
    {"tu1", write_tu1_request, read_tu1_answer, NULL},
    {"keyed", write_keyed_request, read_keyed_answer, NULL},
    {"dns", write_dns_question, read_dns_answer, NULL},
    {"irtt", write_irtt_request, read_irtt_answer, open_irtt},
};

/* The load */

static void send_junk(int fd, int size) {
    static unsigned at;
    at = (at + 977) % MAX_DATAGRAM;
    send(fd, noise + at, size, MSG_DONTWAIT);
}

static void ask(struct slot *slot, double when) {
    static unsigned char data[MAX_DATAGRAM + 8];
    slot->number += 1 << 16;
    slot->source = ((slot->number >> 16) * outstanding + (slot->number & 0xffff)) % source_count;
    slot->sent = when;
    int size = protocol->write(data, slot->number);
    if (junk < FLOOD)
        for (junk_due += junk / (100.0 - junk); junk_due >= 1; junk_due--) send_junk(sources[slot->source], size);
    send(sources[slot->source], data, size, MSG_DONTWAIT); /* a failure is a lost request, asked anew in time */
}

static double percentile(long answers, double share) {
    long seen = 0;
    for (int tick = 0; tick <= TICKS; tick++)
        if ((seen += histogram[tick]) >= answers * share) return tick * TICK * 1e6;
    return LOST_AFTER * 1e6;
}

static int load(int port, double warm_up, double seconds) {
    static unsigned char data[65536];
    struct epoll_event events[BATCH];
    struct rlimit files;
    uint64_t number;
    long answers = 0, lost = 0, stale = 0, wrong = 0;
    int poll = epoll_create1(0), warm = 0;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (size_t i = 0; i < sizeof noise; i++) noise[i] = rand() >> 7;
    for (int i = 0; i < source_count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
        sources[i] = open_socket(port, connect);
        if (epoll_ctl(poll, EPOLL_CTL_ADD, sources[i], &event)) die("epoll_ctl");
        if (protocol->open) protocol->open(i);
    }
    double begin = now(), looked = begin, t = begin;
    for (int i = 0; i < outstanding; i++) {
        slots[i].number = i;
        ask(&slots[i], begin);
    }
    while (!warm || t < begin + seconds || (!answers && t < begin + PATIENCE)) {
        int ready = epoll_wait(poll, events, BATCH, 0);
        for (int e = 0; e < ready; e++) {
            int source = events[e].data.u32;
            ssize_t size;
            while ((size = recv(sources[source], data, sizeof data, MSG_DONTWAIT)) >= 0) {
                if (!protocol->read(data, size, &number)) { wrong++; continue; }
                struct slot *slot = &slots[number & 0xffff];
                if ((int)(number & 0xffff) >= outstanding || number > slot->number) wrong++;
                else if (number != slot->number) stale++;
                else if (slot->source != source) wrong++;
                else {
                    double came = now(), tick = (came - slot->sent) / TICK;
                    histogram[tick < TICKS ? (int)tick : TICKS]++;
                    answers++;
                    ask(slot, came);
                }
            }
        }
        if (junk == FLOOD)
            for (int i = 0; i < BATCH; i++) send_junk(sources[i % source_count], HEADER + payload);
        t = now();
        if (!warm && t >= begin + warm_up) {
            warm = 1;
            begin = t;
            answers = lost = stale = 0;
            memset(histogram, 0, sizeof histogram);
        }
        if (t < looked + LOOK_EVERY) continue;
        looked = t;
        for (int i = 0; i < outstanding; i++)
            if (slots[i].sent < t - LOST_AFTER) { lost++; ask(&slots[i], t); }
    }
    printf("%ld %.6f %ld %ld %ld %.1f %.1f\n", answers, t - begin, lost, stale, wrong, percentile(answers, 0.5),
           percentile(answers, 0.99));
    return 0;
}

/* The servers */

static int open_server(void) {
    struct sockaddr_in own;
    socklen_t length = sizeof own;
    int fd = open_socket(0, bind);
    if (getsockname(fd, (struct sockaddr *)&own, &length)) die("getsockname");
    printf("%d\n", ntohs(own.sin_port));
    fflush(stdout);
    return fd;
}

static void echo_one(int flags) {
    static unsigned char data[65536];
    int fd = open_server();
    for (;;) {
        struct sockaddr_in peer;
        socklen_t length = sizeof peer;
        ssize_t size = recvfrom(fd, data, sizeof data, flags, (struct sockaddr *)&peer, &length);
        if (size < 2) continue;
        data[1] = 0x81;
        sendto(fd, data, size, 0, (struct sockaddr *)&peer, length); /* what cannot be sent is lost */
    }
}

static void echo_many(void) {
    static unsigned char data[BATCH][2048];
    struct sockaddr_in peers[BATCH];
    struct iovec parts[BATCH];
    struct mmsghdr messages[BATCH];
    int fd = open_server();
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
}

int main(int argc, char **argv) {
    if (argc == 2 && !strcmp(argv[1], "echo-many")) echo_many();
    if (argc == 2 && !strcmp(argv[1], "echo-one")) echo_one(0);
    if (argc == 2 && !strcmp(argv[1], "echo-spin")) echo_one(MSG_DONTWAIT);
    if (argc != 9) return 2;
    for (size_t i = 0; i < sizeof protocols / sizeof *protocols; i++)
        if (!strcmp(argv[1], protocols[i].name)) protocol = &protocols[i];
    source_count = atoi(argv[3]);
    outstanding = atoi(argv[4]);
    payload = atoi(argv[5]);
    junk = atoi(argv[6]);
    if (!protocol || source_count < 1 || source_count > MAX_SOURCES || outstanding < 1 ||
        outstanding > MAX_OUTSTANDING || payload < 8 || payload > MAX_DATAGRAM - HEADER || junk < 0 || junk > FLOOD)
        return 2;
    return load(atoi(argv[2]), atof(argv[7]), atof(argv[8]));
}
