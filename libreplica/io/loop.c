/* SPDX-License-Identifier: GPL-2.0-or-later */
/* loop.c - one io_uring for everything that waits. See loop.h. */
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "libreplica/core/err.h"

enum {
    RING_ENTRIES = 1024,     /* submissions a turn before an early io_uring_enter */
    RING_COMPLETIONS = 8192, /* more than all operations that can be under way */
    HOOK_ROUNDS = 8,         /* hooks that make work for each other, before the next wait */
    SPIN_FIRST_NS = 8000,
    NS_A_SECOND = 1000000000
};

struct replica_watch {
    struct loop_op op;
    struct replica_loop *loop;
    int fd;
    uint32_t mask;
    void (*ready)(void *argument, uint32_t events);
    void *argument;
    bool armed, running, closed;
    struct replica_watch *next, **link;
};

struct replica_timer {
    struct replica_loop *loop;
    void (*expired)(void *argument);
    void *argument;
    uint64_t at;
    size_t place; /* in the heap, from 1; 0: not in it */
};

struct hook {
    void (*turn_end)(void *argument);
    void *argument;
};

struct hooks {
    struct hook *list;
    size_t count;
};

struct held_completion {
    struct loop_op *op;
    int result;
};

struct replica_loop {
    struct io_uring ring;
    uint64_t now;
    bool stop, kicked;
    int failed; /* errno of a submission that cannot go on */
    struct loop_polling polling;
    struct loop_counters counters;
    struct replica_watch *watches;
    struct replica_timer **heap; /* heap[0] is the earliest */
    size_t timers, heap_count;   /* timers: made, and so the heap's capacity */
    struct hooks library, clients;
    struct held_completion *held; /* by loop_drain, for the next turn */
    size_t held_count, held_capacity;
    struct io_uring_sqe scratch; /* given out once the ring has failed */
};

static uint64_t clock_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_A_SECOND + (uint64_t)now.tv_nsec;
}

/* ---- life ----------------------------------------------------------------------------------- */

/* The best mode the kernel has: 6.1 runs completions only when we ask, 5.19 at least without
 * interrupting us. */
static int ring_open(struct io_uring *ring)
{
    static const unsigned modes[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        0,
    };
    int result = -EINVAL;

    for (size_t i = 0; i < sizeof modes / sizeof *modes && result == -EINVAL; i++) {
        struct io_uring_params parameters = {.flags = modes[i] | IORING_SETUP_CQSIZE,
                                             .cq_entries = RING_COMPLETIONS};
        result = io_uring_queue_init_params(RING_ENTRIES, ring, &parameters);
        if (result == 0 && !(parameters.features & IORING_FEAT_EXT_ARG)) {
            io_uring_queue_exit(ring);
            result = -ENOSYS;
        }
    }
    return result;
}

int replica_loop_new(struct replica_loop **loop, struct replica_error *error)
{
    struct replica_loop *made = calloc(1, sizeof *made);
    int result;

    if (!made)
        return err_set(error, REPLICA_E_MEMORY, "out of memory for the event loop");
    result = ring_open(&made->ring);
    if (result < 0) {
        free(made);
        if (result == -ENOMEM)
            return err_set(error, REPLICA_E_MEMORY, "io_uring: not enough memory");
        return err_set(error, REPLICA_E_SYSTEM,
                       "io_uring is not available (%s): Linux 5.19 or newer is needed, and "
                       "`sysctl kernel.io_uring_disabled` must be 0",
                       strerror(-result));
    }
    made->now = clock_now();
    made->polling.most_ns = LOOP_POLLING_NS;
    *loop = made;
    return 0;
}

void replica_loop_free(struct replica_loop *loop)
{
    if (!loop)
        return;
    io_uring_queue_exit(&loop->ring);
    while (loop->watches) {
        struct replica_watch *watch = loop->watches;
        loop->watches = watch->next;
        free(watch);
    }
    free(loop->heap);
    free(loop->library.list);
    free(loop->clients.list);
    free(loop->held);
    free(loop);
}

uint64_t replica_loop_now(const struct replica_loop *loop)
{
    return loop->now;
}

void replica_loop_stop(struct replica_loop *loop)
{
    loop->stop = true;
}

void loop_fail(struct replica_loop *loop, int reason)
{
    loop->failed = reason;
}

struct loop_polling *loop_polling(struct replica_loop *loop)
{
    return &loop->polling;
}

const struct loop_counters *loop_counters(const struct replica_loop *loop)
{
    return &loop->counters;
}

/* ---- operations ----------------------------------------------------------------------------- */

static bool submit_may_be_repeated(int result)
{
    return result == -EINTR || result == -EAGAIN || result == -EBUSY;
}

void loop_submit(struct replica_loop *loop)
{
    int result;

    if (io_uring_sq_ready(&loop->ring) == 0)
        return;
    result = io_uring_submit(&loop->ring);
    if (result < 0 && !submit_may_be_repeated(result))
        loop->failed = -result;
}

void loop_settle(struct replica_loop *loop)
{
    int result = io_uring_submit_and_get_events(&loop->ring);

    if (result < 0 && !submit_may_be_repeated(result))
        loop->failed = -result;
}

struct io_uring_sqe *loop_sqe(struct replica_loop *loop, struct loop_op *op)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->ring);

    while (!sqe && loop->failed == 0) {
        loop_submit(loop);
        sqe = io_uring_get_sqe(&loop->ring);
    }
    if (!sqe)
        sqe = &loop->scratch;
    io_uring_sqe_set_data(sqe, op);
    return sqe;
}

void loop_kick(struct replica_loop *loop)
{
    loop->kicked = true;
}

/* ---- watches: a one-shot poll, armed again after each call, which makes it level-triggered -- */

static void watch_arm(struct replica_watch *watch)
{
    io_uring_prep_poll_add(loop_sqe(watch->loop, &watch->op), watch->fd, watch->mask);
    watch->armed = true;
}

static void watch_free(struct replica_watch *watch)
{
    *watch->link = watch->next;
    if (watch->next)
        watch->next->link = watch->link;
    free(watch);
}

static void watch_done(struct loop_op *op, int result)
{
    struct replica_watch *watch = (struct replica_watch *)op;

    watch->armed = false;
    if (!watch->closed) {
        watch->running = true;
        watch->ready(watch->argument, result < 0 ? POLLNVAL : (uint32_t)result);
        watch->running = false;
    }
    if (watch->closed)
        watch_free(watch);
    else if (result >= 0) /* a descriptor that cannot be polled would only spin */
        watch_arm(watch);
}

int replica_loop_watch(struct replica_loop *loop, int fd, bool write,
                       void (*ready)(void *argument, uint32_t events), void *argument,
                       struct replica_watch **watch)
{
    struct replica_watch *made = calloc(1, sizeof *made);

    if (!made)
        return REPLICA_E_MEMORY;
    made->op = (struct loop_op){.done = watch_done, .client = true};
    made->loop = loop;
    made->fd = fd;
    made->mask = write ? POLLOUT : POLLIN;
    made->ready = ready;
    made->argument = argument;
    made->next = loop->watches;
    made->link = &loop->watches;
    if (made->next)
        made->next->link = &made->next;
    loop->watches = made;
    watch_arm(made);
    *watch = made;
    return 0;
}

void replica_loop_unwatch(struct replica_watch *watch)
{
    if (!watch || watch->closed)
        return;
    watch->closed = true;
    if (watch->armed) {
        struct io_uring_sqe *sqe = loop_sqe(watch->loop, NULL);
        io_uring_prep_poll_remove(sqe, (uint64_t)(uintptr_t)&watch->op);
        /* The caller may close the descriptor next: the poll must not keep its file alive. */
        loop_settle(watch->loop);
    } else if (!watch->running) {
        watch_free(watch);
    }
}

/* ---- timers: a binary heap ------------------------------------------------------------------ */

static void heap_put(struct replica_loop *loop, size_t index, struct replica_timer *timer)
{
    loop->heap[index] = timer;
    timer->place = index + 1;
}

/* Moves the timer at `index` to where it belongs. */
static void heap_settle(struct replica_loop *loop, size_t index)
{
    struct replica_timer *timer = loop->heap[index];

    while (index > 0 && loop->heap[(index - 1) / 2]->at > timer->at) {
        heap_put(loop, index, loop->heap[(index - 1) / 2]);
        index = (index - 1) / 2;
    }
    for (;;) {
        size_t child = 2 * index + 1;
        if (child + 1 < loop->heap_count && loop->heap[child + 1]->at < loop->heap[child]->at)
            child++;
        if (child >= loop->heap_count || loop->heap[child]->at >= timer->at)
            break;
        heap_put(loop, index, loop->heap[child]);
        index = child;
    }
    heap_put(loop, index, timer);
}

static void heap_remove(struct replica_loop *loop, struct replica_timer *timer)
{
    size_t index = timer->place - 1;

    timer->place = 0;
    loop->heap_count--;
    if (index == loop->heap_count)
        return;
    heap_put(loop, index, loop->heap[loop->heap_count]);
    heap_settle(loop, index);
}

int replica_timer_new(struct replica_loop *loop, void (*expired)(void *argument), void *argument,
                      struct replica_timer **timer)
{
    struct replica_timer *made = calloc(1, sizeof *made), **heap;

    if (!made)
        return REPLICA_E_MEMORY;
    heap = realloc(loop->heap, (loop->timers + 1) * sizeof(struct replica_timer *));
    if (!heap) {
        free(made);
        return REPLICA_E_MEMORY;
    }
    loop->heap = heap;
    loop->timers++;
    made->loop = loop;
    made->expired = expired;
    made->argument = argument;
    made->at = UINT64_MAX;
    *timer = made;
    return 0;
}

void replica_timer_set(struct replica_timer *timer, uint64_t at)
{
    struct replica_loop *loop = timer->loop;

    timer->at = at;
    if (timer->place && at == UINT64_MAX) {
        heap_remove(loop, timer);
    } else if (timer->place) {
        heap_settle(loop, timer->place - 1);
    } else if (at != UINT64_MAX) {
        heap_put(loop, loop->heap_count++, timer);
        heap_settle(loop, timer->place - 1);
    }
}

void replica_timer_free(struct replica_timer *timer)
{
    if (!timer)
        return;
    if (timer->place)
        heap_remove(timer->loop, timer);
    timer->loop->timers--;
    free(timer);
}

static void timers_expire(struct replica_loop *loop)
{
    while (loop->heap_count > 0 && loop->heap[0]->at <= loop->now) {
        struct replica_timer *timer = loop->heap[0];
        heap_remove(loop, timer);
        timer->at = UINT64_MAX;
        timer->expired(timer->argument);
    }
}

/* ---- turn-end hooks ------------------------------------------------------------------------- */

static int hooks_add(struct hooks *hooks, void (*turn_end)(void *argument), void *argument)
{
    struct hook *list = realloc(hooks->list, (hooks->count + 1) * sizeof *list);

    if (!list)
        return REPLICA_E_MEMORY;
    hooks->list = list;
    hooks->list[hooks->count++] = (struct hook){turn_end, argument};
    return 0;
}

int loop_hook(struct replica_loop *loop, void (*turn_end)(void *argument), void *argument)
{
    return hooks_add(&loop->library, turn_end, argument);
}

int replica_loop_at_turn_end(struct replica_loop *loop, void (*turn_end)(void *argument),
                             void *argument)
{
    return hooks_add(&loop->clients, turn_end, argument);
}

/* The place stays, empty, so that a running hook may take itself out. */
void loop_unhook(struct replica_loop *loop, void *argument)
{
    for (size_t i = 0; i < loop->library.count; i++)
        if (loop->library.list[i].argument == argument)
            loop->library.list[i] = (struct hook){0};
}

static void hooks_run(struct hooks *hooks)
{
    for (size_t i = 0; i < hooks->count; i++) {
        struct hook hook = hooks->list[i]; /* the list may move while it runs */
        if (hook.turn_end)
            hook.turn_end(hook.argument);
    }
}

static void hooks_run_all(struct replica_loop *loop)
{
    for (int round = 0; round < HOOK_ROUNDS; round++) {
        loop->kicked = false;
        hooks_run(&loop->library);
        hooks_run(&loop->clients);
        if (!loop->kicked)
            break;
    }
}

/* ---- the turn ------------------------------------------------------------------------------- */

static bool completions_ready(struct replica_loop *loop)
{
    return io_uring_cq_ready(&loop->ring) > 0;
}

/* True when the kernel has completions to hand over; fetches them. */
static bool completions_fetch(struct replica_loop *loop)
{
    if (completions_ready(loop))
        return true;
    if (!(IO_URING_READ_ONCE(*loop->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)))
        return false;
    (void)io_uring_get_events(&loop->ring);
    return completions_ready(loop);
}

static uint64_t next_deadline(const struct replica_loop *loop)
{
    return loop->heap_count > 0 ? loop->heap[0]->at : UINT64_MAX;
}

/* Looks at the completion queue for at most the time that polling grants. The processor is
 * offered to others in between: what we wait for may need it. */
static bool spin(struct replica_loop *loop, uint64_t start)
{
    uint64_t end = start + loop->polling.now_ns;

    if (end > next_deadline(loop))
        end = next_deadline(loop);
    do {
        if (completions_fetch(loop)) {
            loop->counters.spins++;
            return true;
        }
        sched_yield();
    } while (clock_now() < end);
    return false;
}

static void polling_learn(struct loop_polling *polling, uint64_t waited)
{
    if (waited > polling->most_ns)
        polling->now_ns = waited > 4 * (uint64_t)polling->most_ns ? 0 : polling->now_ns / 2;
    else if (waited > polling->now_ns)
        polling->now_ns = polling->now_ns ? polling->now_ns * 2 : SPIN_FIRST_NS;
    if (polling->now_ns > polling->most_ns)
        polling->now_ns = polling->most_ns;
}

static int sleep_until(struct replica_loop *loop, uint64_t deadline, uint64_t now)
{
    uint64_t ns = deadline > now ? deadline - now : 0;
    struct __kernel_timespec limit = {.tv_sec = (long long)(ns / NS_A_SECOND),
                                      .tv_nsec = (long long)(ns % NS_A_SECOND)};
    struct io_uring_cqe *cqe;

    loop->counters.sleeps++;
    return io_uring_submit_and_wait_timeout(&loop->ring, &cqe, 1,
                                            deadline == UINT64_MAX ? NULL : &limit, NULL);
}

static void wait_for_work(struct replica_loop *loop)
{
    uint64_t start, deadline = next_deadline(loop);
    int result = 0;

    if (loop->kicked || loop->held_count > 0) {
        result = io_uring_submit_and_get_events(&loop->ring);
    } else {
        start = clock_now();
        if (loop->polling.now_ns > 0) {
            loop_submit(loop);
            if (!spin(loop, start))
                result = sleep_until(loop, deadline, clock_now());
        } else {
            result = sleep_until(loop, deadline, start);
        }
        polling_learn(&loop->polling, clock_now() - start);
    }
    if (result < 0 && result != -ETIME && !submit_may_be_repeated(result))
        loop->failed = -result;
    loop->now = clock_now();
}

static void hold_back(struct replica_loop *loop, struct loop_op *op, int result)
{
    if (loop->held_count == loop->held_capacity) {
        size_t capacity = loop->held_capacity ? loop->held_capacity * 2 : 16;
        struct held_completion *held = realloc(loop->held, capacity * sizeof *held);
        if (!held) { /* a lost wake-up would hang its owner for good */
            loop->failed = ENOMEM;
            return;
        }
        loop->held = held;
        loop->held_capacity = capacity;
    }
    loop->held[loop->held_count++] = (struct held_completion){op, result};
}

static void deliver_held(struct replica_loop *loop)
{
    size_t count = loop->held_count;

    for (size_t i = 0; i < count; i++)
        loop->held[i].op->done(loop->held[i].op, loop->held[i].result);
    memmove(loop->held, loop->held + count, (loop->held_count - count) * sizeof *loop->held);
    loop->held_count -= count;
}

/* Delivers what is in the queue now; what comes meanwhile is the next turn's. */
static void deliver(struct replica_loop *loop, bool clients_too)
{
    unsigned count = io_uring_cq_ready(&loop->ring);
    struct io_uring_cqe *cqe;

    while (count-- > 0 && io_uring_peek_cqe(&loop->ring, &cqe) == 0) {
        struct loop_op *op = io_uring_cqe_get_data(cqe);
        int result = cqe->res;
        io_uring_cqe_seen(&loop->ring, cqe);
        if (op && op->client && !clients_too)
            hold_back(loop, op, result);
        else if (op)
            op->done(op, result);
    }
}

int replica_loop_run(struct replica_loop *loop, struct replica_error *error)
{
    loop->stop = false;
    loop->now = clock_now();
    hooks_run_all(loop);
    while (!loop->stop && loop->failed == 0) {
        wait_for_work(loop);
        loop->counters.turns++;
        if (loop->held_count > 0)
            deliver_held(loop);
        deliver(loop, true);
        timers_expire(loop);
        hooks_run_all(loop);
    }
    if (loop->failed != 0)
        return err_set(error, REPLICA_E_SYSTEM, "the event loop stopped: %s",
                       strerror(loop->failed));
    return 0;
}

void loop_drain(struct replica_loop *loop, bool (*pending)(void *argument), void *argument)
{
    while (pending(argument) && loop->failed == 0) {
        int result = sleep_until(loop, UINT64_MAX, 0);
        if (result < 0 && !submit_may_be_repeated(result))
            loop->failed = -result;
        loop->now = clock_now();
        deliver(loop, false);
    }
}
