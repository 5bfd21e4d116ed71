/*
 * Calls libwrap.so.0 as no program should: the original crashes, loops or ends the process at most of these. Ours answers,
 * and what is a verdict is a refusal. Prints "survived" at its end.
 *
 * usage: hostile DIRECTORY
 */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <tcpd.h>
#include <unistd.h>

extern unsigned long cidr_mask_addr(char *);
extern char *percent_m(char *, char *);
extern jmp_buf tcpd_buf;

static char allow[512], deny[512], list[512];
static int wrong;

static void must(const char *what, int holds)
{
    if (!holds) {
        printf("wrong: %s\n", what);
        wrong = 1;
    }
}

static FILE *open_or_end(const char *path)
{
    FILE *file = fopen(path, "w");

    if (file == NULL)
        exit(3);
    return file;
}

static void put(const char *path, const char *text)
{
    FILE *file = open_or_end(path);

    fputs(text, file);
    fclose(file);
}

static void repeat(FILE *file, const char *text, int times)
{
    while (times-- > 0)
        fputs(text, file);
}

static void nothing(void)
{
    struct request_info r;

    must("no request", hosts_access(NULL) == 0);
    must("no texts", hosts_ctl(NULL, NULL, NULL, NULL) == 1); /* without rules */
    must("no request to fill", request_init(NULL, RQ_DAEMON, "d", 0) == NULL && request_set(NULL, RQ_USER, "u", 0) == NULL);
    request_init(&r, RQ_DAEMON, NULL, RQ_USER, NULL, RQ_CLIENT_NAME, NULL, RQ_CLIENT_ADDR, NULL, 0);
    must("null is no text", r.daemon[0] == 0 && r.user[0] == 0);
    must("eval of nothing", strcmp(eval_user(NULL), "unknown") == 0 && strcmp(eval_hostname(NULL), "unknown") == 0
         && strcmp(eval_hostaddr(NULL), "unknown") == 0 && strcmp(eval_hostinfo(NULL), "unknown") == 0
         && strcmp(eval_client(NULL), "unknown") == 0 && strcmp(eval_server(NULL), "unknown") == 0);
    sock_host(NULL);
    sock_hostname(NULL);
    sock_hostaddr(NULL);
    must("strings of nothing", split_at(NULL, ':') == NULL && xgets(NULL, 10, stdin) == NULL && percent_m(NULL, "a") == NULL
         && dot_quad_addr(NULL) == 0xffffffff && cidr_mask_addr(NULL) == 0);
    rfc931(NULL, NULL, NULL);
    rfc931(NULL, NULL, r.user);
    must("ident of nothing", strcmp(r.user, "unknown") == 0);
    shell_cmd(NULL);
    percent_x(NULL, 10, "x", &r);
}

static void expansion(void)
{
    struct request_info r;
    char out[64], text[400];

    request_init(&r, RQ_DAEMON, "daemon", RQ_CLIENT_ADDR, "10.0.0.1", 0);
    must("no room", percent_x(out, 0, "%d", &r) == out && percent_x(out, -5, "%d", &r) == out);
    must("no request", percent_x(out, sizeof out, "%d", NULL) == out && out[0] == 0);
    must("room for six", strcmp(percent_x(out, 7, "%d", &r), "daemon") == 0);
    must("half a command is none", strcmp(percent_x(out, 6, "%d", &r), "") == 0);
    memset(text, 'd', sizeof text);
    text[sizeof text - 1] = 0;
    must("nor a long one", strcmp(percent_x(out, sizeof out, text, &r), "") == 0);
}

static void jumps(void)
{
    struct request_info r;
    char bogus[] = "bogus", deny_option[] = "deny";
    volatile int landed = 0;

    request_init(&r, RQ_DAEMON, "d", 0);
    /* Nobody waits at tcpd_buf: nowhere to go. */
    tcpd_jump("nowhere");
    process_options(bogus, &r);
    process_options(deny_option, &r);
    process_options(NULL, &r);
    process_options(bogus, NULL);
    landed = setjmp(tcpd_buf);
    if (landed == 0) {
        strcpy(bogus, "bogus");
        process_options(bogus, &r);
        landed = 100;
    }
    must("somebody waits", landed == -1);
}

/* A method that asks again: the library is entered twice. */
static void nested(struct host_info *host)
{
    struct request_info r;

    request_init(&r, RQ_DAEMON, "inner", RQ_CLIENT_ADDR, "10.0.0.1", 0);
    strcpy(host->name, hosts_access(&r) ? "inner.granted" : "inner.refused");
}

/* A syslog of the program's own, as Debian's tcpdmatch has one; this one asks the library in the middle of a message. */
static int lines, inner = -1;
static char last[300];

void syslog(int priority, const char *format, ...)
{
    va_list list;

    (void) priority;
    va_start(list, format);
    vsnprintf(last, sizeof last, format, list);
    va_end(list);
    if (lines++ == 0)
        inner = hosts_ctl("inner", "", "10.0.0.1", "");
}

static void telling(struct host_info *host)
{
    tcpd_warn("one");
    tcpd_warn("two");
    strcpy(host->name, "inner.granted");
}

static void over(struct host_info *host)
{
    memset(host->name, 'x', sizeof host->name);
}

static void methods(void)
{
    struct request_info r;

    put(allow, "outer: inner.granted\ninner: ALL\n");
    put(deny, "ALL: ALL\n");
    request_init(&r, RQ_DAEMON, "outer", RQ_CLIENT_ADDR, "10.0.0.2", 0);
    r.hostname = nested;
    must("a method that asks", hosts_access(&r) == 1);
    request_init(&r, RQ_DAEMON, "outer", 0);
    r.hostname = telling;
    lines = 0;
    must("a syslog that asks", hosts_access(&r) == 1 && inner == 1 && lines == 2);
    must("its place is kept", strstr(last, "hostile.allow, line 1: two") != NULL);
    request_init(&r, RQ_DAEMON, "outer", 0);
    r.hostname = over;
    must("a name without an end", hosts_access(&r) == 0);
    memset(&r, 'x', sizeof r);
    r.fd = -7;
    r.client->sin = r.server->sin = NULL;
    r.hostname = r.hostaddr = NULL;
    r.sink = NULL;
    must("texts without an end", hosts_access(&r) == 0);
    eval_client(&r);
    eval_server(&r);
}

/* No crash in the original, but a trap: what a rule says of one request counts for the whole process there. */
static void rules(void)
{
    char room[4];
    FILE *file;

    put(allow, "d: ALL: rfc931 7\n");
    put(deny, "ALL: ALL\n");
    must("a rule with rfc931", hosts_ctl("d", "", "10.0.0.1", "joe") == 1);
    must("its time is for its request", rfc931_timeout == 10);
    put(allow, "d: ALL: aclexec false\ne: ALL: nice 0\n");
    must("an aclexec that fails", hosts_ctl("d", "", "10.0.0.1", "joe") == 0);
    must("and says nothing about the next", hosts_ctl("e", "", "10.0.0.1", "joe") == 1);
    must("lines are read", (file = fopen(allow, "r")) != NULL);
    must("without room there is no line", xgets(room, 1, file) == NULL && xgets(room, 0, file) == NULL);
    must("nor a negative one", xgets(room, -1, file) == NULL && xgets(room, 4, file) == room);
    fclose(file);
}

static void *waiting(void *argument)
{
    (void) argument;
    hosts_ctl("d", "", "10.0.0.1", "joe");
    pthread_testcancel();
    return NULL;
}

/* A thread that is ended from outside, most likely while the library waits for a command. */
static void cancelled(void)
{
    pthread_t thread;
    void *result = NULL;

    put(allow, "d: ALL: spawn sleep 0.5\n");
    must("a thread", pthread_create(&thread, NULL, waiting, NULL) == 0);
    usleep(100000);
    must("that is cancelled", pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0);
    must("and then ends", result == PTHREAD_CANCELED);
}

static void verdict(const char *what, int wanted)
{
    int granted = hosts_ctl("d", "host.example.com", "10.0.0.1", "joe");

    if (granted != wanted) {
        printf("wrong: %s: %d\n", what, granted);
        wrong = 1;
    }
}

static void tables(void)
{
    FILE *file;
    char text[600];

    put(allow, "");
    file = open_or_end(deny);
    fputs("d: ALL", file);
    repeat(file, " x", 1 << 19);
    fputs("\n", file);
    fclose(file);
    verdict("a line of a mebibyte", 0);
    snprintf(text, sizeof text, "d: %s\n", list);
    put(deny, text);
    put(list, list);
    verdict("a list that contains itself", 0);
    file = open_or_end(list);
    repeat(file, "x", 20000);
    fclose(file);
    verdict("a word of 20000 bytes", 0);
    file = open_or_end(deny);
    fputs("d: ALL", file);
    repeat(file, " EXCEPT ALL", 180);
    fputs("\n", file);
    fclose(file);
    verdict("180 EXCEPT", 0);
    file = open_or_end(allow);
    fputs("d: ALL: spawn ", file);
    repeat(file, "%n", 900);
    fputs("\n", file);
    fclose(file);
    put(deny, "ALL: ALL\n");
    verdict("an expansion without room", 0);
    file = open_or_end(deny);
    fwrite("d: ALL\0\n\0\0\n", 1, 11, file);
    fclose(file);
    put(allow, "");
    verdict("NUL bytes", 0);
    hosts_deny_table = "/dev/zero";
    verdict("a table without an end", 0);
    hosts_deny_table = NULL;
    verdict("a null pointer", 0);
    hosts_deny_table = deny;
    hosts_allow_table = NULL;
    verdict("the other null pointer", 0);
    hosts_allow_table = allow;
    rfc931_timeout = -5;
    hosts_access_verbose = -5;
    resident = 2147483647;
    put(deny, "");
    verdict("strange variables", 1);
}

/* The tables were read one after the other, ever: one descriptor that is free is enough. */
static void descriptors(void)
{
    struct rlimit most = {16, 16};
    int status = 0, last;
    pid_t child;

    put(allow, "other: ALL\n");
    put(deny, "d: 10.9.9.9\n");
    child = fork();
    if (child == 0) {
        setrlimit(RLIMIT_NOFILE, &most);
        while ((last = dup(1)) >= 0 && last < 15)
            ;
        last = hosts_ctl("d", "", "10.0.0.1", "");
        close(15);
        last += 2 * hosts_ctl("d", "", "10.0.0.1", "");
        _exit(last + 4 * hosts_ctl("d", "", "10.9.9.9", ""));
    }
    must("a child", child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    must("without a descriptor nobody is granted, with one the tables decide", WEXITSTATUS(status) == 2);
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    snprintf(allow, sizeof allow, "%s/hostile.allow", argv[1]);
    snprintf(deny, sizeof deny, "%s/hostile.deny", argv[1]);
    snprintf(list, sizeof list, "%s/hostile.list", argv[1]);
    hosts_allow_table = allow;
    hosts_deny_table = deny;
    nothing();
    expansion();
    jumps();
    methods();
    rules();
    cancelled();
    descriptors();
    tables();
    if (!wrong)
        printf("survived\n");
    return wrong;
}
