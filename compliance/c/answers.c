/*
 * Answers many requests from standard input through libwrap.so.0, in one process, and prints everything that a program can
 * see of each. compliance/libwrap-differential.py draws the requests and compares two libraries.
 *
 * Input, one after the other:
 *   T ALLOW DENY, newline, ALLOW bytes, DENY bytes, newline    new tables; -1: none
 *   Q daemon^Aname^Aaddress^Auser^Aour name^Aour address^Aour port^Aclient's port, newline
 * usage: answers DIRECTORY, whose content is replaced
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <tcpd.h>
#include <unistd.h>

static char line[1 << 16], bytes[1 << 20];

/* Messages, by whatever name the library writes them; control bytes as ours escapes them. */
static void message(const char *format, va_list list)
{
    static char text[20000];
    const unsigned char *at = (const unsigned char *) text;

    vsnprintf(text, sizeof text, format, list);
    fputs("M ", stdout);
    for (; *at != 0; at++)
        *at < 32 || *at == 127 ? printf("\\x%02x", *at) : putchar(*at);
    putchar('\n');
}

void syslog(int priority, const char *format, ...)
{
    va_list list;

    (void) priority;
    va_start(list, format);
    message(format, list);
    va_end(list);
}

void __syslog_chk(int priority, int flag, const char *format, ...)
{
    va_list list;

    (void) priority, (void) flag;
    va_start(list, format);
    message(format, list);
    va_end(list);
}

void __vsyslog_chk(int priority, int flag, const char *format, va_list list)
{
    (void) priority, (void) flag;
    message(format, list);
}

static void table(const char *name, long size)
{
    FILE *file;

    if (size < 0) {
        unlink(name);
        return;
    }
    if (size > (long) sizeof bytes || fread(bytes, 1, (size_t) size, stdin) != (size_t) size)
        exit(4);
    if ((file = fopen(name, "w")) == NULL || fwrite(bytes, 1, (size_t) size, file) != (size_t) size || fclose(file) != 0)
        exit(3);
}

static void end_of(struct request_info *request, int key, struct sockaddr_in *address, const char *port)
{
    memset(address, 0, sizeof *address);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->sin_port = htons((unsigned short) atoi(port));
    if (*port != '-' && *port != 0)
        request_set(request, key, address, 0);
}

static void question(long number)
{
    static char nothing[1];
    char *field[8], *at = line + 1;
    struct sockaddr_in server, client;
    struct request_info r;
    int i, granted;

    at[strcspn(at, "\n")] = 0;
    for (i = 0; i < 8; i++) {
        field[i] = at != NULL ? at : nothing;
        if (at != NULL && (at = strchr(at, 1)) != NULL)
            *at++ = 0;
    }
    request_init(&r, RQ_DAEMON, field[0], RQ_CLIENT_NAME, field[1], RQ_CLIENT_ADDR, field[2], RQ_USER, field[3], RQ_SERVER_NAME,
                 field[4], RQ_SERVER_ADDR, field[5], RQ_FILE, 1, 0);
    end_of(&r, RQ_SERVER_SIN, &server, field[6]);
    end_of(&r, RQ_CLIENT_SIN, &client, field[7]);
    strcpy(r.pid, "77");
    /* What an earlier request has left counts for none. */
    allow_severity = 6;
    deny_severity = 4;
    dry_run = 1;
    resident = -1;
    tcpd_context.file = NULL;
    tcpd_context.line = 0;
    umask(022);
    clearenv();
    fflush(stdout);
    granted = hosts_access(&r);
    fflush(stdout);
    /* The addresses are evaluated: the original fills them later than ours. */
    eval_hostaddr(r.client);
    eval_hostaddr(r.server);
    printf("R %ld %d %d %d %d %03o", number, granted, allow_severity, deny_severity, dry_run, umask(022));
    printf(" [%s] [%s] [%s] [%s] [%s] [%s]\n", r.daemon, r.user, r.client->name, r.client->addr, r.server->name, r.server->addr);
}

int main(int argc, char **argv)
{
    long number = 0, allow, deny;

    if (argc != 2 || chdir(argv[1]) != 0)
        return 2;
    hosts_allow_table = "hosts.allow";
    hosts_deny_table = "hosts.deny";
    hosts_access_verbose = 2;
    while (fgets(line, sizeof line, stdin) != NULL)
        if (line[0] == 'Q')
            question(number++);
        else if (sscanf(line, "T %ld %ld", &allow, &deny) == 2) {
            table(hosts_allow_table, allow);
            table(hosts_deny_table, deny);
            getchar();
        } else
            return 4;
    return 0;
}
