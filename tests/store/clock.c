/* Preloaded into a server under test: the time of day is what stands in the file STORE_CLOCK, in microseconds, and
 * passes only when the test writes there. The scripts stay as they are, and so do the server's own times to live.
 * The other clock stands still, because Valkey 9 takes the time of a command from both. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *clock_file;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("STORE_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) abort();
    void *mapped = mmap(NULL, sizeof *clock_file, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED) abort();
    clock_file = mapped;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    int64_t micros = *clock_file;
    now->tv_sec = micros / 1000000;
    now->tv_usec = micros % 1000000;
    return 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int64_t micros = clock == CLOCK_REALTIME ? *clock_file : 0;
    now->tv_sec = micros / 1000000;
    now->tv_nsec = micros % 1000000 * 1000;
    return 0;
}
