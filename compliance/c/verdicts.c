/*
 * Asks libwrap.so.0 about clients of one daemon, each in a process of its own, and prints one word for each.
 *
 * usage: verdicts DAEMON OUR-ADDRESS OUR-PORT CLIENT...; hosts.allow and hosts.deny in the working directory
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <syslog.h>
#include <tcpd.h>
#include <unistd.h>

int allow_severity = LOG_INFO, deny_severity = LOG_WARNING;

static void address(struct sockaddr_in *socket, const char *text, int port)
{
    memset(socket, 0, sizeof *socket);
    socket->sin_family = AF_INET;
    socket->sin_port = htons((unsigned short) port);
    if (inet_pton(AF_INET, text, &socket->sin_addr) != 1)
        exit(4);
}

static int ask(char *daemon, const char *ours, int port, const char *theirs)
{
    struct request_info request;
    struct sockaddr_in server, client;
    int granted;

    address(&server, ours, port);
    address(&client, theirs, 40000);
    request_init(&request, RQ_DAEMON, daemon, RQ_CLIENT_SIN, &client, RQ_SERVER_SIN, &server, 0);
    request.hostname = sock_hostname;
    request.hostaddr = sock_hostaddr;
    dry_run = 1;
    granted = hosts_access(&request);
    /* A command that answers instead of the server leaves its mark here. */
    puts(dry_run == 0 ? "delegated" : granted ? "granted" : "denied");
    return 0;
}

int main(int argc, char **argv)
{
    int i, status;

    if (argc < 5)
        return 2;
    hosts_allow_table = "hosts.allow";
    hosts_deny_table = "hosts.deny";
    for (i = 4; i < argc; i++) {
        fflush(stdout);
        if (fork() == 0) {
            close(2);
            exit(ask(argv[1], argv[2], atoi(argv[3]), argv[i]));
        }
        if (wait(&status) < 0 || status != 0)
            return 3;
    }
    return 0;
}
