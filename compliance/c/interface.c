/*
 * Asks libwrap.so.0 through its public header, one function after the other, and prints what it answers. The same
 * executable is run with the original and with ours; both must print what interface.expected holds.
 *
 * usage: interface PART DIRECTORY, with a directory of its own that can be written to
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <tcpd.h>
#include <unistd.h>

/* What programs were compiled with. */
#define AT(type, member, offset) _Static_assert(offsetof(struct type, member) == (offset), #type " " #member)
#if __SIZEOF_POINTER__ == 8
_Static_assert(sizeof(struct host_info) == 280, "host_info");
_Static_assert(sizeof(struct request_info) == 872, "request_info");
_Static_assert(sizeof(struct tcpd_context) == 16, "tcpd_context");
AT(host_info, name, 0);
AT(host_info, addr, 128);
AT(host_info, sin, 256);
AT(host_info, unit, 264);
AT(host_info, request, 272);
AT(request_info, fd, 0);
AT(request_info, user, 4);
AT(request_info, daemon, 132);
AT(request_info, pid, 260);
AT(request_info, client, 272);
AT(request_info, server, 552);
AT(request_info, sink, 832);
AT(request_info, hostname, 840);
AT(request_info, hostaddr, 848);
AT(request_info, cleanup, 856);
AT(request_info, config, 864);
AT(tcpd_context, file, 0);
AT(tcpd_context, line, 8);
#endif

/* Exported, and in no header. */
extern unsigned long cidr_mask_addr(char *);
extern char *percent_m(char *, char *);
extern void fix_options(struct request_info *);
extern jmp_buf tcpd_buf;

static const char *directory;

/* A path that stays: the library's variables point to some. */
static char *in(const char *name)
{
    size_t size = strlen(directory) + strlen(name) + 2;
    char *place = malloc(size);

    if (place == NULL)
        exit(3);
    snprintf(place, size, "%s/%s", directory, name);
    return place;
}

static void put(const char *name, const char *text)
{
    FILE *file = fopen(in(name), "w");

    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0)
        exit(3);
}

static void show(const char *what, const char *text)
{
    printf("%s: ", what);
    if (text == NULL)
        printf("(null)");
    for (; text != NULL && *text; text++)
        (*text >= 32 && *text < 127 && *text != '\\') ? putchar(*text) : printf("\\%03o", (unsigned char) *text);
    putchar('\n');
    fflush(stdout);
}

/* ---- variables ---- */

static void variables(void)
{
    printf("severities %d %d, tables %s %s\n", allow_severity, deny_severity, hosts_allow_table, hosts_deny_table);
    printf("verbose %d, timeout %d, resident %d, dry_run %d\n", hosts_access_verbose, rfc931_timeout, resident, dry_run);
    printf("unknown %s, paranoid %s, context %s %d\n", unknown, paranoid,
           tcpd_context.file ? tcpd_context.file : "(none)", tcpd_context.line);
}

/* ---- requests ---- */

static void attributes(void)
{
    struct request_info r;
    char text[12], longer[300];
    struct sockaddr_in sin;

    memset(&r, 'x', sizeof r);
    printf("returns itself: %d\n", request_init(&r, 0) == &r);
    snprintf(text, sizeof text, "%ld", (long) getpid());
    printf("fd %d, user [%s], daemon [%s], pid is ours: %d\n", r.fd, r.user, r.daemon, strcmp(text, r.pid) == 0);
    printf("back pointers %d %d\n", r.client->request == &r, r.server->request == &r);
    printf("null: %d %d %d %d %d %d\n", !r.sink, !r.hostname, !r.hostaddr, !r.cleanup, !r.config, !r.client->sin);
    memset(longer, 'l', sizeof longer);
    longer[sizeof longer - 1] = 0;
    request_set(&r, RQ_FILE, 7, RQ_DAEMON, "in.d", RQ_USER, longer, RQ_CLIENT_NAME, "c.name", RQ_CLIENT_ADDR, "c.addr",
                RQ_CLIENT_SIN, &sin, RQ_SERVER_NAME, "s.name", RQ_SERVER_ADDR, "s.addr", RQ_SERVER_SIN, &sin, 0);
    printf("fd %d, user of %d, daemon %s, client %s %s %d, server %s %s %d\n", r.fd, (int) strlen(r.user), r.daemon,
           r.client->name, r.client->addr, (void *) r.client->sin == (void *) &sin, r.server->name, r.server->addr,
           (void *) r.server->sin == (void *) &sin);
    request_set(&r, RQ_USER, "joe", 99, RQ_DAEMON, "other", 0);
    printf("after an unknown key: %s %s\n", r.user, r.daemon);
    request_set(&r, RQ_USER, "jim", -1, RQ_DAEMON, "other", 0);
    printf("after a negative key: %s %s\n", r.user, r.daemon);
    show("client", eval_client(&r));
    show("server", eval_server(&r));
    show("hostinfo", eval_hostinfo(r.client));
    show("user", eval_user(&r));
    request_set(&r, RQ_USER, "UNKNOWN", RQ_CLIENT_NAME, "Paranoid", RQ_SERVER_NAME, "", RQ_SERVER_ADDR, "", 0);
    show("client", eval_client(&r));
    show("server", eval_server(&r));
    show("server name", r.server->name);
    show("server addr", r.server->addr);
    show("hostname", eval_hostname(r.server));
    request_init(&r, RQ_DAEMON, "d", RQ_SERVER_NAME, "", RQ_SERVER_ADDR, "paranoid", 0);
    show("empty user", eval_user(&r));
    show("empty addr", eval_hostaddr(r.client));
    show("empty name", eval_hostname(r.client));
    show("server of a paranoid address", eval_server(&r));
    printf("apart: %d\n", eval_client(&r) != eval_server(&r));
}

static int named, addressed;

static void my_name(struct host_info *host)
{
    named++;
    strcpy(host->name, host == host->request->client ? "mine.example.com" : "ours.example.com");
}

static void my_addr(struct host_info *host)
{
    addressed++;
    strcpy(host->addr, "10.7.7.7");
}

static void jumping(struct host_info *host)
{
    tcpd_jump("the method of %s gives up", host->request->daemon);
}

static void methods(void)
{
    struct request_info r;

    request_init(&r, RQ_DAEMON, "d", 0);
    r.hostname = my_name;
    r.hostaddr = my_addr;
    show("name", eval_hostname(r.client));
    show("name again", eval_hostname(r.client));
    show("addr", eval_hostaddr(r.client));
    show("addr again", eval_hostaddr(r.client));
    show("server info", eval_hostinfo(r.server));
    printf("calls %d %d\n", named, addressed);
    put("allow", "d: .example.com\n");
    put("deny", "ALL: ALL\n");
    hosts_allow_table = in("allow");
    hosts_deny_table = in("deny");
    request_init(&r, RQ_DAEMON, "d", 0);
    r.hostname = my_name;
    r.hostaddr = my_addr;
    printf("access %d, cached %s %s\n", hosts_access(&r), r.client->name, r.client->addr);
    request_init(&r, RQ_DAEMON, "d", 0);
    r.hostname = jumping;
    r.hostaddr = my_addr;
    printf("access with a jump %d\n", hosts_access(&r));
}

static void ports(void)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    memset(&v4, 0, sizeof v4);
    memset(&v6, 0, sizeof v6);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(65535);
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(22);
    show("v4", eval_port((void *) &v4));
    show("v6", eval_port((void *) &v6));
    show("none", eval_port(NULL));
}

/* ---- strings ---- */

static void split(void)
{
    static const char *const texts[] = { "a:b:c", ":", "", "abc", "[a:b]:c", "[[a:b]:c]:d", "]a:b", "[a:b", "a]:b[:c", "x[]:y",
        "\\:a", "a[b]c:d:e" };
    char text[64];
    unsigned i;

    for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        char *rest;

        strcpy(text, texts[i]);
        rest = split_at(text, ':');
        printf("[%s] ", texts[i]);
        show(text, rest);
    }
    strcpy(text, "a@b@c");
    show(text, split_at(text + 1, '@'));
}

static void numbers(void)
{
    static char *const quads[] = { "1.2.3.4", "255.255.255.255", "1.2.3", "1.2.3.4.5", "0x10.2.3.4", "010.2.3.4", "1..2.3.4",
        ".1.2.3.4", "1.2.3.4.", "1.2.3.256", "a.b.c.d", "", "1.2.3.4 ", "1.2.3.4 x", " 1.2.3.4", "1.2.3.x", "0.0.0.0", "1.2.3.-4" };
    static char *const masks[] = { "8", "0", "32", "33", "-1", "24x", "x", "", " 16", "+8", "08", "4294967304", "1", "31", "8.0" };
    unsigned i;

    for (i = 0; i < sizeof quads / sizeof quads[0]; i++)
        printf("quad [%s] %08lx\n", quads[i], dot_quad_addr(quads[i]));
    for (i = 0; i < sizeof masks / sizeof masks[0]; i++)
        printf("mask [%s] %08lx\n", masks[i], cidr_mask_addr(masks[i]));
}

static void errors(void)
{
    static char *const texts[] = { "plain", "%m", "a %m b %m", "%d %s %%m %", "%", "%%m" };
    char out[512];
    unsigned i;

    for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        errno = ENOENT;
        printf("same place %d ", percent_m(out, texts[i]) == out);
        show(texts[i], out);
    }
}

static void lines(void)
{
    static const char *const text =
        "one\ntwo \\\n more\n\\\n\\\nthree\n\n# four \\\\\nfive\n\\ \nthis line is longer than the room that there is\nsix\\\n\\\nlast";
    static const int rooms[] = { 2048, 12, 5, 2, 0 };
    unsigned i;

    put("lines", text);
    for (i = 0; i < sizeof rooms / sizeof rooms[0]; i++) {
        FILE *file = fopen(in("lines"), "r");
        char room[2048], *got;
        int most = 0;

        tcpd_context.line = 0;
        printf("room for %d\n", rooms[i]);
        while (most++ < 60 && (got = xgets(room, rooms[i], file)) != NULL) {
            printf("%d %d ", tcpd_context.line, got == room);
            show("line", room);
        }
        printf("at the end: line %d\n", tcpd_context.line);
        fclose(file);
    }
    tcpd_context.line = 0;
    put("lines", "only\\\n");
    {
        FILE *file = fopen(in("lines"), "r");
        char room[64];

        show("joined to nothing", xgets(room, sizeof room, file));
        show("then", xgets(room, sizeof room, file));
        fclose(file);
    }
    tcpd_context.line = 0;
}

/* ---- messages: openlog has LOG_PERROR, so that they are seen ---- */

static void messages(void)
{
    static char file[] = "/a/table";

    errno = EACCES;
    tcpd_warn("cannot %s %d: %m", "open", 5);
    tcpd_warn("100%%");
    tcpd_context.file = file;
    tcpd_context.line = 12;
    tcpd_warn("in a file");
    if (setjmp(tcpd_buf) == 0) {
        errno = ENOENT;
        tcpd_jump("stop: %m %c", 'x');
        printf("not reached\n");
    } else
        printf("jumped\n");
    printf("value %d\n", setjmp(tcpd_buf) == 0 ? (tcpd_jump("again"), 5) : -5);
    tcpd_context.file = NULL;
    tcpd_context.line = 0;
}

/* ---- options ---- */

static void options(void)
{
    static const char *const texts[] = { "allow", "deny", "ALLOW ", " deny\n", "allow: deny", "severity mail.info: allow", "severity info",
        "severity bogus", "bogus", "", ":", "spawn echo %a", "spawn", "twist echo %d %%", "twist echo: allow", "keepalive", "keepalive x",
        "linger 10", "linger x", "rfc931", "rfc931 x", "nice", "nice 5", "nice x", "umask 027", "umask 9", "umask 1000", "setenv A b c",
        "setenv A=b", "setenv A", "user", "user nobody.nosuchgroup", "user nosuchuser", "group nosuchgroup", "banners /nonexistent",
        "aclexec true", "aclexec", "nice 1: severity local0.crit", "allow:", "spawn a\\:b: deny", "spawn %z: allow", "= allow", "umask=0" };
    unsigned i;

    hosts_access_verbose = 1;
    for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct request_info r;
        char text[128];
        volatile int code = 0;

        request_init(&r, RQ_DAEMON, "d", RQ_CLIENT_ADDR, "10.0.0.1", RQ_CLIENT_NAME, "c.example.com", RQ_USER, "joe", 0);
        strcpy(text, texts[i]);
        allow_severity = LOG_INFO;
        deny_severity = LOG_WARNING;
        dry_run = 1;
        umask(0);
        unsetenv("A");
        fflush(stdout);
        code = setjmp(tcpd_buf);
        if (code == 0) {
            process_options(text, &r);
            code = 100;
        }
        show("options", texts[i]);
        printf("  code %d, severities %d %d, dry_run %d, umask %03o, A=%s\n", code, allow_severity, deny_severity, dry_run,
               umask(0), getenv("A") ? getenv("A") : "(unset)");
        fflush(stdout);
    }
    hosts_access_verbose = 0;
    dry_run = 0;
    allow_severity = LOG_INFO;
    deny_severity = LOG_WARNING;
}

static void expansion(void)
{
    static char *const texts[] = { "plain", "%a %A %c %d %h %H %n %N %r %R %s %u %%", "%", "%z", "a%", "%z%d", "100%%" };
    struct request_info r;
    char out[400];
    unsigned i;

    request_init(&r, RQ_DAEMON, "in.d", RQ_CLIENT_ADDR, "10.0.0.1", RQ_CLIENT_NAME, "c$x.example.com", RQ_USER, "joe`id`",
                 RQ_SERVER_ADDR, "10.0.0.2", RQ_SERVER_NAME, "srv", 0);
    for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        printf("same place %d ", percent_x(out, sizeof out, texts[i], &r) == out);
        show(texts[i], out);
    }
    show("cleaned name", r.client->name);
    show("cleaned user", r.user);
    request_init(&r, RQ_DAEMON, "d", 0);
    show("of nothing", percent_x(out, sizeof out, "%a|%c|%h|%n|%s|%u|%A|%H|%N", &r));
}

/* ---- verdicts ---- */

static void ask(char *daemon, char *address, char *user)
{
    int granted = hosts_ctl(daemon, "", address, user);

    printf("[%s] [%s] [%s]: %d, resident %d, severities %d %d, dry_run %d\n", daemon, address, user, granted, resident,
           allow_severity, deny_severity, dry_run);
    fflush(stdout);
}

static void verdicts(void)
{
    struct request_info r;

    put("allow", "d: 10.\ne: ALL: severity mail.info\nf: joe@ALL\ng: 10.0.0.1: deny\n");
    put("deny", "ALL: ALL: severity local1.crit\n");
    hosts_allow_table = in("allow");
    hosts_deny_table = in("deny");
    printf("resident %d\n", resident);
    ask("d", "10.1.1.1", "unknown");
    ask("d", "11.1.1.1", "unknown");
    ask("e", "", "");
    ask("f", "10.0.0.1", "joe");
    ask("f", "10.0.0.1", "jim");
    ask("g", "10.0.0.1", "");
    ask("g", "10.0.0.2", "");
    put("deny", "");
    ask("without a deny rule", "10.0.0.2", "");
    put("deny", "x: ALL\nbroken");
    ask("with a broken one", "10.0.0.2", "");
    hosts_deny_table = in("missing");
    ask("without a table", "10.0.0.2", "");
    hosts_deny_table = in("allow/below");
    ask("with one that cannot be opened", "10.0.0.2", "");
    hosts_deny_table = in("deny");
    put("deny", "ALL: ALL: twist echo %a\n");
    dry_run = 1;
    ask("g", "10.0.0.2", "");
    put("allow", "g: ALL: twist echo %a\n");
    dry_run = 1;
    ask("g", "10.0.0.2", "");
    dry_run = 0;
    ask("g", "10.0.0.2", "");
    put("allow", "g: ALL: spawn echo %n %u >out\n");
    request_init(&r, RQ_DAEMON, "g", RQ_CLIENT_NAME, "a b", RQ_CLIENT_ADDR, "10.0.0.9", RQ_USER, "j;e", 0);
    if (chdir(directory) != 0)
        exit(3);
    printf("spawn %d, cleaned %s %s\n", hosts_access(&r), r.client->name, r.user);
    {
        char line[100] = "";
        FILE *file = fopen("out", "r");

        show("spawned", file && fgets(line, sizeof line, file) ? line : "nothing");
        if (file)
            fclose(file);
    }
}

/* ---- sockets ---- */

static int pair_of(int type, int *other)
{
    struct sockaddr_in here;
    socklen_t length = sizeof here;
    int listener = socket(AF_INET, type, 0), client, served = listener;

    memset(&here, 0, sizeof here);
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *) &here, sizeof here) != 0)
        exit(3);
    getsockname(listener, (void *) &here, &length);
    if (type == SOCK_STREAM)
        listen(listener, 5);
    client = socket(AF_INET, type, 0);
    if (connect(client, (void *) &here, sizeof here) != 0)
        exit(3);
    if (type == SOCK_STREAM)
        served = accept(listener, NULL, NULL);
    *other = client;
    return served;
}

static void describe(struct request_info *r)
{
    printf("methods %d %d, sink %d, ends %d %d\n", r->hostname != NULL, r->hostaddr != NULL, r->sink != NULL,
           r->client->sin != NULL, r->server->sin != NULL);
    show("client", eval_client(r));
    show("server", eval_server(r));
    show("addresses", eval_hostaddr(r->client));
    show("", eval_hostaddr(r->server));
}

static void sockets(void)
{
    struct request_info r;
    int other, fd, pair[2];
    char buffer[16];

    fd = pair_of(SOCK_STREAM, &other);
    request_init(&r, RQ_FILE, fd, RQ_DAEMON, "d", 0);
    sock_host(&r);
    describe(&r);
    show("name", eval_hostname(r.client));
    show("client", eval_client(&r));
    show("user", eval_user(&r));
    fix_options(&r);
    fd = pair_of(SOCK_DGRAM, &other);
    if (send(other, "hello", 5, 0) != 5)
        exit(3);
    request_init(&r, RQ_FILE, fd, RQ_DAEMON, "d", 0);
    sock_host(&r);
    describe(&r);
    show("user", eval_user(&r));
    printf("still there: %d\n", (int) recv(fd, buffer, sizeof buffer, MSG_DONTWAIT | MSG_PEEK));
    r.sink(fd);
    printf("swallowed: %d\n", (int) recv(fd, buffer, sizeof buffer, MSG_DONTWAIT));
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
        exit(3);
    request_init(&r, RQ_FILE, pair[0], RQ_DAEMON, "d", 0);
    sock_host(&r);
    describe(&r);
    show("name", eval_hostname(r.client));
    fix_options(&r);
    request_init(&r, RQ_FILE, open("/dev/null", O_RDWR), RQ_DAEMON, "d", 0);
    sock_host(&r);
    describe(&r);
    fflush(stdout);
    if (fork() == 0) {
        fix_options(&r);
        _exit(9);
    }
    wait(&other);
    printf("what is no socket ends the process: %d\n", other);
}

static void idents(void)
{
    struct sockaddr_in a, b;
    char user[STRING_LENGTH];

    memset(&a, 0, sizeof a);
    a.sin_family = AF_INET;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    a.sin_port = htons(1);
    b = a;
    strcpy(user, "before");
    rfc931((void *) &a, (void *) &b, user);
    show("nobody answers", user);
    b.sin_family = AF_INET6;
    strcpy(user, "before");
    rfc931((void *) &a, (void *) &b, user);
    show("two families", user);
}

/* ---- commands ---- */

/* The library's pause: instead of waiting, its length is printed. */
unsigned sleep(unsigned seconds)
{
    printf("a pause of %u\n", seconds);
    fflush(stdout);
    return 0;
}

static volatile sig_atomic_t children;

static void child(int number)
{
    (void) number;
    children++;
}

static void commands(void)
{
    char line[200] = "";
    struct sigaction before, after;
    FILE *file;

    if (chdir(directory) != 0)
        exit(3);
    signal(SIGCHLD, child);
    sigaction(SIGCHLD, NULL, &before);
    shell_cmd("for fd in 0 1 2; do readlink /proc/$$/fd/$fd >>ran; done; exit 3");
    sigaction(SIGCHLD, NULL, &after);
    printf("handler kept %d\n", before.sa_handler == after.sa_handler);
    file = fopen("ran", "r");
    while (file && fgets(line, sizeof line, file))
        show("descriptor", line);
    printf("no child left %d\n", waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD);
}

static int swallowed = -1;

static void my_sink(int fd)
{
    swallowed = fd;
    printf("sink %d\n", fd);
    fflush(stdout);
}

/* Everything of the process that somebody else may rely on. */
struct state {
    mode_t mask;
    unsigned long blocked;
    struct { void (*handler)(int); unsigned long mask; long flags; } actions[32];
    unsigned alarm;
    int descriptors, environment, children;
    char cwd[256];
};

static unsigned long numbers_in(const sigset_t *set)
{
    unsigned long numbers = 0;
    int i;

    for (i = 1; i < 64; i++)
        numbers |= sigismember(set, i) == 1 ? 1UL << i : 0;
    return numbers;
}

static void look(struct state *now)
{
    extern char **environ;
    sigset_t blocked;
    int i;

    memset(now, 0, sizeof *now);
    now->mask = umask(0);
    umask(now->mask);
    sigprocmask(SIG_BLOCK, NULL, &blocked);
    now->blocked = numbers_in(&blocked);
    for (i = 1; i < 32; i++) {
        struct sigaction action;

        memset(&action, 0, sizeof action);
        sigaction(i, NULL, &action);
        now->actions[i].handler = action.sa_handler;
        now->actions[i].flags = action.sa_flags;
        now->actions[i].mask = numbers_in(&action.sa_mask);
    }
    now->alarm = alarm(0);
    alarm(now->alarm);
    for (i = 0; i < 100; i++)
        now->descriptors += fcntl(i, F_GETFD) >= 0 ? i : 0;
    for (i = 0; environ[i] != NULL; i++)
        now->environment += (int) strlen(environ[i]);
    now->children = waitpid(-1, NULL, WNOHANG);
    if (getcwd(now->cwd, sizeof now->cwd) == NULL)
        exit(3);
}

static void state(void)
{
    static const char *const rules[] = { "d: ALL\n", "d: joe@ALL\n", "d: KNOWN\n", "d: @nogroup\n", "d: /nonexistent\n",
        "d: ALL: spawn true\n", "d: ALL: rfc931 1\n", "d: ALL: keepalive: linger 1\n",
        "d: ALL: banners /nonexistent\n", "d: ALL: bogus\n", "d: ALL: severity mail.info: deny\n", "d: ALL: aclexec true\n", "broken" };
    struct sigaction action;
    struct state before, after;
    unsigned i;

    memset(&action, 0, sizeof action);
    action.sa_handler = child;
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
    umask(051);
    hosts_allow_table = in("allow");
    hosts_deny_table = in("deny");
    put("deny", "ALL: ALL\n");
    openlog("interface", LOG_PERROR | LOG_NDELAY, LOG_USER);
    for (i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct request_info r;
        int other, fd = pair_of(SOCK_STREAM, &other), granted;

        put("allow", rules[i]);
        resident = -1;
        request_init(&r, RQ_FILE, fd, RQ_DAEMON, "d", 0);
        sock_host(&r);
        /* What the library and libc open once and keep is not counted. */
        eval_hostname(r.client);
        syslog(LOG_DEBUG, "begin");
        memset(r.client->name, 0, sizeof r.client->name);
        alarm(100);
        look(&before);
        granted = hosts_access(&r);
        look(&after);
        after.alarm = after.alarm > 90 ? before.alarm : after.alarm;
        show("rule", rules[i]);
        printf("  %d, umask %d, blocked %d, actions %d, alarm %d, descriptors %d, environment %d, children %d, cwd %d\n", granted,
               before.mask == after.mask, before.blocked == after.blocked,
               memcmp(before.actions, after.actions, sizeof before.actions) == 0, before.alarm == after.alarm,
               before.descriptors == after.descriptors, before.environment == after.environment,
               before.children == after.children, strcmp(before.cwd, after.cwd) == 0);
        alarm(0);
        close(fd);
        close(other);
    }
    put("allow", "d: ALL: umask 022: setenv A b: severity auth.alert\n");
    printf("ordered: %d, ", hosts_ctl("d", "", "10.0.0.1", ""));
    printf("umask %03o, A=%s, severities %d %d\n", umask(0), getenv("A") ? getenv("A") : "(unset)", allow_severity, deny_severity);
}

static void ends(void)
{
    struct request_info r;
    int status = -1;

    request_init(&r, RQ_FILE, 42, RQ_DAEMON, "d", RQ_CLIENT_NAME, "c.example.com", RQ_CLIENT_ADDR, "10.0.0.1", RQ_USER, "joe", 0);
    r.sink = my_sink;
    deny_severity = LOG_NOTICE;
    fflush(stdout);
    if (fork() == 0) {
        refuse(&r);
        _exit(9);
    }
    wait(&status);
    printf("refuse: %d\n", status);
    fflush(stdout);
    r.sink = NULL;
    if (fork() == 0) {
        clean_exit(&r);
        _exit(9);
    }
    wait(&status);
    printf("clean_exit: %d\n", status);
}

int main(int argc, char **argv)
{
    static const struct part { const char *name; void (*run)(void); } parts[] = {
        { "variables", variables }, { "attributes", attributes }, { "methods", methods }, { "ports", ports }, { "split", split },
        { "numbers", numbers }, { "errors", errors }, { "lines", lines }, { "messages", messages }, { "options", options },
        { "expansion", expansion }, { "verdicts", verdicts }, { "sockets", sockets }, { "idents", idents }, { "commands", commands },
        { "state", state }, { "ends", ends },
    };
    unsigned i;

    if (argc != 3)
        return 2;
    directory = argv[2];
    openlog("interface", LOG_PERROR, LOG_USER);
    for (i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strcmp(argv[1], parts[i].name) == 0) {
            parts[i].run();
            fflush(stdout);
            return 0;
        }
    return 2;
}
