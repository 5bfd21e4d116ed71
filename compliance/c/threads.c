/*
 * Threads that ask libwrap.so.0 at the same time, each about a request of its own, and see whether any of them ever gets
 * what belongs to another. One more forks meanwhile: its children ask too. Prints "apart" at its end.
 *
 * usage: threads DIRECTORY ROUNDS
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <tcpd.h>
#include <unistd.h>

extern jmp_buf tcpd_buf;

enum { THREADS = 4 };

static int rounds;
static atomic_int wrong;

static void must(int thread, const char *what, int holds)
{
    if (!holds && atomic_fetch_add(&wrong, 1) < 20)
        printf("thread %d: %s\n", thread, what);
}

static void named(struct host_info *host)
{
    /* As a method of a program may: our own texts come from the request that we were given. */
    snprintf(host->name, sizeof host->name, "host.of.%.9s", host->request->daemon);
}

static void jumping(struct host_info *host)
{
    tcpd_jump("not for %s", host->request->daemon);
}

static int connected(int port, int *other)
{
    struct sockaddr_in from, to;
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), one = 1, served;

    memset(&from, 0, sizeof from);
    from.sin_family = AF_INET;
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + port);
    to = from;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(20000 + port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (void *) &to, sizeof to) != 0 || listen(listener, 1) != 0 || bind(client, (void *) &from, sizeof from) != 0
        || connect(client, (void *) &to, sizeof to) != 0 || (served = accept(listener, NULL, NULL)) < 0)
        exit(3);
    close(listener);
    *other = client;
    return served;
}

static void *ask(void *argument)
{
    int me = (int) (long) argument, i, other, fd = connected(me, &other);
    char daemon[32], user[32], address[32], client[128], server[128], port[16], peer[32];
    struct request_info r;

    snprintf(daemon, sizeof daemon, "d%d", me);
    snprintf(user, sizeof user, "u%d", me);
    snprintf(address, sizeof address, "10.%d.0.1", me);
    snprintf(client, sizeof client, "%s@host.of.%s", user, daemon);
    snprintf(server, sizeof server, "%s@192.0.2.%d", daemon, me);
    snprintf(port, sizeof port, "%d", 20000 + me);
    snprintf(peer, sizeof peer, "127.0.0.%d", me + 2);
    for (i = 0; i < rounds; i++) {
        char ours[64], text[256];

        /* Granted for even threads, refused for odd ones, by name. */
        snprintf(ours, sizeof ours, "192.0.2.%d", me);
        request_init(&r, RQ_DAEMON, daemon, RQ_USER, user, RQ_CLIENT_ADDR, address, RQ_SERVER_ADDR, ours, 0);
        r.hostname = named;
        must(me, "verdict", hosts_access(&r) == (me % 2 == 0));
        must(me, "client", strcmp(eval_client(&r), client) == 0);
        must(me, "server", strcmp(eval_server(&r), server) == 0);
        must(me, "expansion", strcmp(percent_x(text, sizeof text, "%c %d", &r), (strcat(strcpy(ours, client), " "), strcat(ours, daemon))) == 0);
        /* By the socket. */
        request_init(&r, RQ_DAEMON, daemon, RQ_FILE, fd, 0);
        sock_host(&r);
        must(me, "peer", strcmp(eval_hostaddr(r.client), peer) == 0);
        must(me, "port", strcmp(eval_port((void *) r.server->sin), port) == 0);
        must(me, "verdict on the socket", hosts_access(&r) == 0);
        /* A jump ends in the thread where it began. */
        request_init(&r, RQ_DAEMON, daemon, 0);
        r.hostname = jumping;
        must(me, "jump", hosts_access(&r) == 0);
        /* A rule with a command: another thread's child is not mistaken for ours. */
        if (i % 100 == 0) {
            request_init(&r, RQ_DAEMON, "command", RQ_CLIENT_ADDR, address, 0);
            must(me, "command", hosts_access(&r) == (me % 2 == 0));
        }
    }
    close(fd);
    close(other);
    return NULL;
}

static void *forking(void *argument)
{
    int i;

    (void) argument;
    for (i = 0; i < rounds / 20; i++) {
        int status = -1;
        pid_t child = fork();

        if (child == 0)
            _exit(hosts_ctl("d0", "host.of.d0", "10.0.0.1", "u0") == 1 && hosts_ctl("d1", "x", "10.1.0.1", "u1") == 0 ? 0 : 1);
        must(THREADS, "child", child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static char allow[512], deny[512];
    pthread_t threads[THREADS + 1];
    FILE *file;
    long i;

    if (argc != 3)
        return 2;
    rounds = atoi(argv[2]);
    openlog("threads", LOG_NDELAY, LOG_USER);
    snprintf(allow, sizeof allow, "%s/threads.allow", argv[1]);
    snprintf(deny, sizeof deny, "%s/threads.deny", argv[1]);
    if ((file = fopen(allow, "w")) == NULL)
        return 3;
    fputs("d0 d2: host.of.d0 host.of.d2 10.0.0.2\nd1: host.of.d0\nd3: host.of.d2: severity mail.info\n"
          "command: 10.0. 10.2.: aclexec test %a = 10.0.0.1 -o %a = 10.2.0.1\ncommand: ALL: aclexec false\n", file);
    fclose(file);
    if ((file = fopen(deny, "w")) == NULL)
        return 3;
    fputs("ALL: ALL: severity auth.notice\n", file);
    fclose(file);
    hosts_allow_table = allow;
    hosts_deny_table = deny;
    for (i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, ask, (void *) i) != 0)
            return 3;
    if (pthread_create(&threads[THREADS], NULL, forking, NULL) != 0)
        return 3;
    for (i = 0; i <= THREADS; i++)
        pthread_join(threads[i], NULL);
    if (!wrong)
        printf("apart\n");
    return wrong ? 1 : 0;
}
