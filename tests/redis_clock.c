/* Preloaded into a redis-server: its clock is the machine's plus the offset (us) in a file. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

static volatile const long *offset;

__attribute__((constructor)) static void open_offset(void)
{
    const char *path = getenv("REDIS_CLOCK");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof(long), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED)
        offset = page;
    close(file);
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    int result = syscall(SYS_gettimeofday, now, zone);
    if (offset && now) {
        long time = now->tv_sec * 1000000L + now->tv_usec + *offset;
        now->tv_sec = time / 1000000L;
        now->tv_usec = time % 1000000L;
    }
    return result;
}
