/* The calls by which a program without an operating system uses the files and the console of its
 * debugger or emulator (Arm Semihosting). */
#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdint.h>
#include <string.h>

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE0 = 0x04, SYS_WRITE = 0x05, SYS_READ = 0x06 };
enum { SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_READ = 1, OPEN_WRITE = 5 }; /* "rb" and "wb" */

static inline int semihosting(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

/* A handle, or -1. */
static inline int host_open(const char *name, uint32_t mode)
{
    const uint32_t argument[3] = {(uint32_t)name, mode, strlen(name)};
    return semihosting(SYS_OPEN, argument);
}

/* The number of bytes that were not read. */
static inline uint32_t host_read(int handle, void *data, uint32_t count)
{
    const uint32_t argument[3] = {(uint32_t)handle, (uint32_t)data, count};
    return (uint32_t)semihosting(SYS_READ, argument);
}

static inline void host_write(int handle, const void *data, uint32_t count)
{
    const uint32_t argument[3] = {(uint32_t)handle, (uint32_t)data, count};
    semihosting(SYS_WRITE, argument);
}

static inline void host_close(int handle)
{
    const uint32_t argument[1] = {(uint32_t)handle};
    semihosting(SYS_CLOSE, argument);
}

static inline void host_print(const char *text)
{
    semihosting(SYS_WRITE0, text);
}

static inline void host_exit(uint32_t status)
{
    const uint32_t argument[2] = {0x20026, status}; /* the application's own exit */
    semihosting(SYS_EXIT_EXTENDED, argument);
    for (;;) {
    }
}

#endif
