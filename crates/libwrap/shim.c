/*
 * What Rust cannot write: functions with a variable number of arguments, longjmp, and the data that programs copy.
 *
 * No jump that starts here crosses a frame of Rust: Rust returns a code and this file jumps; a function of the program
 * that Rust has to call is called from here, and a jump out of it ends here. Decides nothing.
 *
 * The header tcpd.h is not needed to build; what it promises is held by the tests.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct request_info;
struct host_info;

/* In Rust; none of these unwinds. */
extern void portreeve_request_clear(struct request_info *request);
extern void portreeve_request_number(struct request_info *request, int value);
extern int portreeve_request_pointer(struct request_info *request, int key, void *value);
extern void portreeve_warn(const char *text);
extern void portreeve_error(const char *text);
extern int portreeve_process_options(char *options, struct request_info *request);
extern int portreeve_fix_options(struct request_info *request);
extern void portreeve_say_refused(struct request_info *request);
extern void (*portreeve_sink(struct request_info *request, int *fd))(int);

/* ---- data: programs have copy relocations of it, so the sizes are part of the interface -------------------------- */

int allow_severity __attribute__((weak)) = 6; /* LOG_INFO */
int deny_severity __attribute__((weak)) = 4;  /* LOG_WARNING */
char *hosts_allow_table = "/etc/hosts.allow";
char *hosts_deny_table = "/etc/hosts.deny";
int hosts_access_verbose = 0;
int rfc931_timeout = 10;
int resident = -1;
int dry_run = 0;
char unknown[] = "unknown";
char paranoid[] = "paranoid";
struct tcpd_context {
    char *file;
    int line;
} tcpd_context;
jmp_buf tcpd_buf;

/* ---- attributes of a request ------------------------------------------------------------------------------------- */

enum { RQ_FILE = 1 };

static struct request_info *fill(struct request_info *request, va_list list)
{
    int key;

    while ((key = va_arg(list, int)) > 0) {
        if (key == RQ_FILE)
            portreeve_request_number(request, va_arg(list, int));
        /* What follows an unknown key is of an unknown type: nothing after it can be read. */
        else if (!portreeve_request_pointer(request, key, va_arg(list, void *)))
            break;
    }
    return request;
}

struct request_info *request_init(struct request_info *request, ...)
{
    va_list list;

    portreeve_request_clear(request);
    va_start(list, request);
    fill(request, list);
    va_end(list);
    return request;
}

struct request_info *request_set(struct request_info *request, ...)
{
    va_list list;

    va_start(list, request);
    fill(request, list);
    va_end(list);
    return request;
}

/* ---- messages and jumps ------------------------------------------------------------------------------------------ */

/* Where a function of the program that we are calling in this thread jumps to: never tcpd_buf, which all threads share. */
static __thread jmp_buf *calling;

enum { TEXT = 8192 };

/* Ends the call of whoever waits. Returns when nobody does: the buffer was never set. */
static void jump(int code)
{
    static const jmp_buf never;

    if (calling != NULL)
        longjmp(*calling, code);
    if (memcmp(tcpd_buf, never, sizeof never) != 0)
        longjmp(tcpd_buf, code);
}

void tcpd_warn(char *format, ...)
{
    char text[TEXT];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list); /* glibc's %m is strerror(errno), as promised */
    va_end(list);
    portreeve_warn(text);
}

void tcpd_jump(char *format, ...)
{
    char text[TEXT];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    portreeve_error(text);
    jump(-1); /* AC_ERROR */
}

void process_options(char *options, struct request_info *request)
{
    int code = portreeve_process_options(options, request);

    if (code != 0)
        jump(code);
}

/* Calls a method of the program for Rust. 1: it returned; 0: it left through tcpd_jump. */
int portreeve_call_method(void (*method)(struct host_info *), struct host_info *host)
{
    jmp_buf here;
    jmp_buf *volatile outer = calling;
    volatile int returned = 0;

    if (setjmp(here) == 0) {
        calling = &here;
        method(host);
        returned = 1;
    }
    calling = outer;
    return returned;
}

/* ---- ends -------------------------------------------------------------------------------------------------------- */

/* The pause keeps a client that tries again at once from turning a refusal into load. sshd and others rely on it. */
void clean_exit(struct request_info *request)
{
    int fd = -1;
    void (*sink)(int) = portreeve_sink(request, &fd);

    if (sink != NULL)
        sink(fd);
    sleep(5);
    exit(0);
}

/* What is no socket has no client: the original ends here too. */
void fix_options(struct request_info *request)
{
    if (!portreeve_fix_options(request))
        clean_exit(request);
}

void refuse(struct request_info *request)
{
    portreeve_say_refused(request);
    clean_exit(request);
}
