/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stamper - writes blocks that can prove themselves, and checks them.
 *
 * Every block carries its own number, a sequence number, the run and a
 * CRC-32C over all of it, so that a lost, torn, stale or misplaced write is
 * seen. Every completed write is reported on standard output before the
 * thread that wrote it goes on; what the harness has received outside of the
 * host is the journal of acknowledged writes.
 *
 *   stamper write   DEV [option=value...]   stamp until count or seconds
 *   stamper verify  DEV [option=value...]   read all, print what is there
 *   stamper rewrite DEV [option=value...]   change pages while they are
 *                                           being written (promise P5)
 * Options: first= (block), blocks=, unit= (bytes a block), depth= (threads),
 *   seed=, seq= (first sequence number), count=, seconds=, max= (largest
 *   write in blocks), flush= (writes between flushes), order=seq|random.
 *
 * Lines written:
 *   W SEQ BLOCK COUNT   the write is complete
 *   F N                 a flush that began after N reported writes is complete
 *   X WHAT SEQ ERRNO    the guest saw an error
 *   E WRITES GAP_US     the end; the longest time without a completion
 *   V BLOCK SEQ...      verify: sequence numbers of consecutive blocks, 0: empty
 *   B BLOCK WHY         verify: a block that cannot be as it was written
 *   D BLOCKS STAMPED EMPTY BAD  verify: done
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DEPTH_LIMIT = 64, WRITE_LIMIT = 1 << 20, VERIFY_LINE = 16 };

static const char stamp_magic[8] = "TAPDSTMP";

struct options {
    uint64_t first, blocks, unit, depth, seed, seq, count, seconds, max;
    uint64_t flush;
    bool sequential;
};

struct stamp {
    char magic[8];
    uint64_t block;
    uint64_t seq;
    uint32_t seed;
    uint32_t crc; /* over the whole block with this field zero */
};

struct range {
    uint64_t block, count;
};

/* Everything the writing threads share; lock guards all but stop. */
struct writer {
    struct options o;
    int fd;
    pthread_mutex_t lock;
    pthread_cond_t freed;
    uint64_t next, position, reported, since_flush;
    uint64_t last_us, gap_us, deadline_us;
    struct range flying[DEPTH_LIMIT];
    bool choosing; /* a thread waits for room for its write */
    bool failed;
};

static atomic_bool stop;
static uint32_t crc_table[256];

static void request_stop(int signal)
{
    (void)signal;
    atomic_store(&stop, true);
}

static void crc_prepare(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;

        for (int k = 0; k < 8; k++)
            c = c & 1 ? c >> 1 ^ 0x82f63b78u : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc32c(const uint8_t *data, size_t size)
{
    uint32_t c = ~0u;

    while (size-- > 0)
        c = crc_table[(c ^ *data++) & 255] ^ c >> 8;
    return ~c;
}

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* One write(2) a line, so that lines of several threads never mix. */
static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

#include <stdarg.h>

static void say(const char *format, ...)
{
    char line[1024];
    va_list list;
    int size;

    va_start(list, format);
    size = vsnprintf(line, sizeof(line), format, list);
    va_end(list);
    for (int done = 0; done < size;) {
        ssize_t n = write(1, line + done, (size_t)(size - done));

        if (n <= 0 && errno != EINTR && errno != EAGAIN)
            return;
        done += n > 0 ? (int)n : 0;
    }
}

static void stamp_fill(uint8_t *data, const struct options *o, uint64_t block, uint64_t seq)
{
    struct stamp s = {.block = block, .seq = seq, .seed = (uint32_t)o->seed};
    uint64_t word = mix(block ^ seq << 20);

    for (size_t i = 0; i + 8 <= o->unit; i += 8) {
        word = word * 6364136223846793005u + 1442695040888963407u;
        memcpy(data + i, &word, 8);
    }
    memcpy(s.magic, stamp_magic, sizeof(s.magic));
    memcpy(data, &s, sizeof(s));
    s.crc = crc32c(data, o->unit);
    memcpy(data, &s, sizeof(s));
}

/* NULL and the sequence number (0: never written), or what is wrong. */
static const char *stamp_check(uint8_t *data, const struct options *o, uint64_t block,
                               uint64_t *seq)
{
    struct stamp s;
    uint32_t crc;

    *seq = 0;
    memcpy(&s, data, sizeof(s));
    if (data[0] == 0 && memcmp(data, data + 1, o->unit - 1) == 0)
        return NULL;
    if (memcmp(s.magic, stamp_magic, sizeof(s.magic)) != 0)
        return "foreign";
    crc = s.crc;
    s.crc = 0;
    memcpy(data, &s, sizeof(s));
    if (crc32c(data, o->unit) != crc)
        return "torn";
    if (s.block != block)
        return "misplaced";
    *seq = s.seq;
    return NULL;
}

/* ------------------------------------------------------------- write --- */

static bool overlaps(const struct writer *w, const struct range *r)
{
    for (uint64_t i = 0; i < w->o.depth; i++) {
        const struct range *f = &w->flying[i];

        if (f->count > 0 && f->block < r->block + r->count && r->block < f->block + f->count)
            return true;
    }
    return false;
}

static struct range choose(struct writer *w, uint64_t seq)
{
    uint64_t random = mix(seq ^ mix(w->o.seed));
    struct range r = {.count = 1 + (random >> 40) % w->o.max};
    uint64_t places = w->o.blocks - r.count + 1;

    r.block = random % places;
    if (w->o.sequential) {
        if (w->position + r.count > w->o.blocks)
            w->position = 0;
        r.block = w->position;
        w->position += r.count;
    }
    r.block += w->o.first;
    return r;
}

/* Takes the next write; false when there is none. Writes of one block never
 * fly together and start in the order of their numbers: then the newest
 * acknowledged one is the one that must be there. */
static bool take(struct writer *w, uint64_t slot, uint64_t *seq, struct range *r)
{
    bool more;

    pthread_mutex_lock(&w->lock);
    while (w->choosing)
        pthread_cond_wait(&w->freed, &w->lock);
    more = !atomic_load(&stop) && !w->failed &&
           (w->o.count == 0 || w->next < w->o.seq + w->o.count) &&
           (w->deadline_us == 0 || now_us() < w->deadline_us);
    if (more) {
        *seq = w->next++;
        *r = choose(w, *seq);
        w->choosing = true;
        while (overlaps(w, r))
            pthread_cond_wait(&w->freed, &w->lock);
        w->choosing = false;
        w->flying[slot] = *r;
        pthread_cond_broadcast(&w->freed);
    }
    pthread_mutex_unlock(&w->lock);
    return more;
}

static void report_error(struct writer *w, const char *what, uint64_t seq, int error)
{
    pthread_mutex_lock(&w->lock);
    w->failed = true;
    say("X %s %" PRIu64 " %d\n", what, seq, error);
    pthread_mutex_unlock(&w->lock);
}

/* Reports a completed write; returns true when a flush is due. */
static bool report(struct writer *w, uint64_t slot, uint64_t seq, uint64_t *covered)
{
    struct range *r = &w->flying[slot];
    uint64_t now;
    bool due;

    pthread_mutex_lock(&w->lock);
    now = now_us();
    if (now - w->last_us > w->gap_us)
        w->gap_us = now - w->last_us;
    w->last_us = now;
    say("W %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", seq, r->block, r->count);
    r->count = 0;
    *covered = ++w->reported;
    due = w->o.flush > 0 && ++w->since_flush >= w->o.flush;
    if (due)
        w->since_flush = 0;
    pthread_cond_broadcast(&w->freed);
    pthread_mutex_unlock(&w->lock);
    return due;
}

static void flush(struct writer *w, uint64_t covered)
{
    if (fdatasync(w->fd) != 0) {
        report_error(w, "flush", covered, errno);
        return;
    }
    pthread_mutex_lock(&w->lock);
    say("F %" PRIu64 "\n", covered);
    pthread_mutex_unlock(&w->lock);
}

struct thread {
    pthread_t id;
    struct writer *writer;
    uint64_t slot;
};

static void *write_thread(void *argument)
{
    struct thread *t = argument;
    struct writer *w = t->writer;
    const struct options *o = &w->o;
    uint8_t *data = aligned_alloc(4096, WRITE_LIMIT);
    uint64_t seq, covered;
    struct range r;

    while (data != NULL && take(w, t->slot, &seq, &r)) {
        size_t size = r.count * o->unit;
        ssize_t n;

        for (uint64_t i = 0; i < r.count; i++)
            stamp_fill(data + i * o->unit, o, r.block + i, seq);
        n = pwrite(w->fd, data, size, (off_t)(r.block * o->unit));
        if (n != (ssize_t)size) {
            report_error(w, "write", seq, n < 0 ? errno : EIO);
            break;
        }
        if (report(w, t->slot, seq, &covered))
            flush(w, covered);
    }
    free(data);
    return NULL;
}

static int do_write(const struct options *o, int fd)
{
    static struct thread threads[DEPTH_LIMIT];
    static struct writer w;

    w.o = *o;
    w.fd = fd;
    w.next = o->seq;
    w.last_us = now_us();
    w.deadline_us = o->seconds ? w.last_us + o->seconds * 1000000u : 0;
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.freed, NULL);
    for (uint64_t i = 0; i < o->depth; i++) {
        threads[i] = (struct thread){.writer = &w, .slot = i};
        if (pthread_create(&threads[i].id, NULL, write_thread, &threads[i]) != 0)
            return 1;
    }
    for (uint64_t i = 0; i < o->depth; i++)
        pthread_join(threads[i].id, NULL);
    if (!w.failed)
        flush(&w, w.reported);
    say("E %" PRIu64 " %" PRIu64 "\n", w.reported, w.gap_us);
    return w.failed ? 1 : 0;
}

/* ------------------------------------------------------------ verify --- */

struct listing {
    char line[512];
    int used, entries;
};

static void list_end(struct listing *l)
{
    if (l->entries > 0)
        say("V %s\n", l->line);
    l->entries = 0;
    l->used = 0;
}

static void list_add(struct listing *l, uint64_t block, uint64_t seq)
{
    size_t room = sizeof(l->line);

    if (l->entries == VERIFY_LINE)
        list_end(l);
    if (l->entries++ == 0)
        l->used = snprintf(l->line, room, "%" PRIu64, block);
    l->used += snprintf(l->line + l->used, room - (size_t)l->used, " %" PRIu64, seq);
}

static int do_verify(const struct options *o, int fd)
{
    uint64_t step = WRITE_LIMIT / o->unit, stamped = 0, empty = 0, bad = 0;
    uint8_t *data = aligned_alloc(4096, WRITE_LIMIT);
    struct listing list = {.used = 0};

    for (uint64_t at = 0; data != NULL && at < o->blocks; at += step) {
        uint64_t n = o->blocks - at < step ? o->blocks - at : step;
        uint64_t block = o->first + at, seq;
        ssize_t size = (ssize_t)(n * o->unit);

        if (pread(fd, data, (size_t)size, (off_t)(block * o->unit)) != size) {
            say("X read %" PRIu64 " %d\n", block, errno);
            return 1;
        }
        for (uint64_t i = 0; i < n; i++) {
            const char *why = stamp_check(data + i * o->unit, o, block + i, &seq);

            if (why != NULL) {
                list_end(&list);
                say("B %" PRIu64 " %s\n", block + i, why);
                bad++;
                continue;
            }
            if (list.entries > 0 || seq != 0)
                list_add(&list, block + i, seq);
            else
                list.used = 0;
            stamped += seq != 0;
            empty += seq == 0;
        }
    }
    list_end(&list);
    say("D %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", o->blocks, stamped, empty, bad);
    free(data);
    return bad > 0;
}

/* ----------------------------------------------------------- rewrite --- */

struct rewriter {
    pthread_t id;
    const struct options *o;
    int fd;
    uint64_t slot, writes;
    uint64_t *page;
    int error;
};

static void *rewrite_thread(void *argument)
{
    struct rewriter *r = argument;
    const struct options *o = r->o;

    for (uint64_t i = 0; !atomic_load(&stop); i++) {
        uint64_t block = (i * o->depth + r->slot) % o->blocks;
        off_t place = (off_t)((o->first + block) * o->unit);

        if (pwrite(r->fd, r->page, o->unit, place) != (ssize_t)o->unit) {
            r->error = errno ? errno : EIO;
            break;
        }
        r->writes++;
    }
    return NULL;
}

/* The main thread changes every page while the others write them. */
static int do_rewrite(const struct options *o, int fd)
{
    static struct rewriter all[DEPTH_LIMIT];
    uint64_t end = now_us() + (o->seconds ? o->seconds : 10) * 1000000u;
    uint64_t value = 0, writes = 0, words = o->unit / 8;
    int error = 0;

    for (uint64_t i = 0; i < o->depth; i++) {
        all[i] = (struct rewriter){.o = o, .fd = fd, .slot = i};
        all[i].page = aligned_alloc(4096, o->unit);
        if (all[i].page == NULL || pthread_create(&all[i].id, NULL, rewrite_thread, &all[i]))
            return 1;
    }
    while (!atomic_load(&stop) && now_us() < end) {
        value++;
        for (uint64_t i = 0; i < o->depth; i++)
            for (uint64_t k = 0; k < words; k++)
                ((volatile uint64_t *)all[i].page)[k] = value;
    }
    atomic_store(&stop, true);
    for (uint64_t i = 0; i < o->depth; i++) {
        pthread_join(all[i].id, NULL);
        writes += all[i].writes;
        error = error ? error : all[i].error;
    }
    if (error == 0 && fdatasync(fd) != 0)
        error = errno;
    if (error != 0)
        say("X rewrite 0 %d\n", error);
    say("E %" PRIu64 " %" PRIu64 "\n", writes, value);
    return error != 0;
}

/* -------------------------------------------------------------- main --- */

static bool parse_option(struct options *o, const char *text)
{
    static const char *const names[] = {"first", "blocks", "unit",    "depth", "seed",
                                        "seq",   "count",  "seconds", "max",   "flush"};
    uint64_t *const values[] = {&o->first, &o->blocks, &o->unit,    &o->depth, &o->seed,
                                &o->seq,   &o->count,  &o->seconds, &o->max,   &o->flush};
    const char *equal = strchr(text, '=');

    if (equal == NULL)
        return false;
    if (strncmp(text, "order=", 6) == 0) {
        o->sequential = strcmp(equal + 1, "seq") == 0;
        return o->sequential || strcmp(equal + 1, "random") == 0;
    }
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        size_t size = (size_t)(equal - text);

        if (strlen(names[i]) == size && strncmp(names[i], text, size) == 0) {
            *values[i] = strtoull(equal + 1, NULL, 10);
            return true;
        }
    }
    return false;
}

static bool options_valid(const struct options *o)
{
    return o->unit >= 512 && o->unit % 512 == 0 && WRITE_LIMIT % o->unit == 0 && o->depth >= 1 &&
           o->depth <= DEPTH_LIMIT && o->max >= 1 && o->max * o->unit <= WRITE_LIMIT &&
           o->max * o->depth <= o->blocks && o->seq > 0;
}

int main(int argc, char **argv)
{
    struct options o = {.blocks = 4096, .unit = 4096, .depth = 1, .seq = 1, .max = 1, .flush = 16};
    struct sigaction action = {.sa_handler = request_stop};
    const char *mode = argc >= 3 ? argv[1] : "";
    int fd;

    for (int i = 3; i < argc; i++)
        if (!parse_option(&o, argv[i])) {
            say("X option %d 0\n", i);
            return 2;
        }
    if (argc < 3 || !options_valid(&o)) {
        say("usage: stamper write|verify|rewrite DEV [option=value...]\n");
        return 2;
    }
    fd = open(argv[2], (strcmp(mode, "verify") ? O_RDWR : O_RDONLY) | O_DIRECT);
    if (fd < 0) {
        say("X open 0 %d\n", errno);
        return 2;
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    crc_prepare();
    if (strcmp(mode, "write") == 0)
        return do_write(&o, fd);
    if (strcmp(mode, "verify") == 0)
        return do_verify(&o, fd);
    if (strcmp(mode, "rewrite") == 0)
        return do_rewrite(&o, fd);
    say("usage: stamper write|verify|rewrite DEV [option=value...]\n");
    return 2;
}
