/* Another time of day for one process: loaded in front of the C library (LD_PRELOAD), it moves what clocks of the time of day
   say by CLOCK_OFFSET seconds. Monotonic clocks stay as they are, and waits until a moved time end when they should. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>

static time_t offset(void) {
    static time_t value;
    static int known;
    if (!known) {
        const char *text = getenv("CLOCK_OFFSET");
        value = text ? atol(text) : 0;
        known = 1;
    }
    return value;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int clock_gettime(clockid_t clock, struct timespec *now) {
    static __typeof__(&clock_gettime) real;
    if (!real) real = REAL(clock_gettime);
    int result = real(clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += offset();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    static __typeof__(&gettimeofday) real;
    if (!real) real = REAL(gettimeofday);
    int result = real(now, zone);
    if (result == 0) now->tv_sec += offset();
    return result;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *now, int base) {
    return base == TIME_UTC && clock_gettime(CLOCK_REALTIME, now) == 0 ? base : 0;
}

/* The kernel waits by its own time of day. These are the waits of the Kafka client. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict mutex, const struct timespec *restrict until) {
    static __typeof__(&cnd_timedwait) real;
    if (!real) real = REAL(cnd_timedwait);
    struct timespec moved = *until;
    moved.tv_sec -= offset();
    return real(condition, mutex, &moved);
}
