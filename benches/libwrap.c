/* What a decision of libwrap costs; the counterpart of crates/wrap/examples/decide.rs.
 *
 *   libwrap ALLOW DENY N     the first decision of this process, then the mean of N, in microseconds
 *
 * Which libwrap.so.0 it measures is the dynamic linker's choice (LD_LIBRARY_PATH). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

extern char *hosts_allow_table, *hosts_deny_table;
int hosts_ctl(char *daemon, char *name, char *address, char *user);
int allow_severity, deny_severity;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

int main(int argc, char **argv)
{
    static char client[1024][16];
    uint32_t state = 1;
    int granted = 0, n;
    double start, first;

    if (argc != 4 || (n = atoi(argv[3])) < 1)
        return 2;
    for (int i = 0; i < 1024; i++) {
        state = state * 1664525u + 1013904223u;
        snprintf(client[i], sizeof client[i], "%u.%u.%u.%u", (state >> 24) % 223 + 1, state >> 16 & 255,
                 state >> 8 & 255, state & 255);
    }
    hosts_allow_table = argv[1];
    hosts_deny_table = argv[2];
    start = now();
    hosts_ctl("benchd", "unknown", "127.0.0.1", "unknown");
    first = now() - start;
    start = now();
    for (int i = 0; i < n; i++)
        granted += hosts_ctl("benchd", "unknown", client[i % 1024], "unknown");
    printf("{\"first_us\":%.2f,\"us\":%.4f,\"granted\":%d,\"n\":%d}\n", first, (now() - start) / n, granted, n);
    return 0;
}
