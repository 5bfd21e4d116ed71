/* An RPC program as an inetd starts it: it answers on descriptor 0, a datagram socket, a listening socket or a connection,
 * the null procedure and procedure 1 (a number, plus the version it was called by), and ends when nobody has called for a
 * second. PROGRAM FIRST LAST on the command line. */
#include <rpc/rpc.h>
#include <stdlib.h>
#include <sys/select.h>
#include <sys/socket.h>

static void answer(struct svc_req *request, SVCXPRT *transport)
{
	unsigned number = 0;

	switch (request->rq_proc) {
	case 0:
		svc_sendreply(transport, (xdrproc_t)xdr_void, NULL);
		return;
	case 1:
		if (!svc_getargs(transport, (xdrproc_t)xdr_u_int, (char *)&number)) {
			svcerr_decode(transport);
			return;
		}
		number += request->rq_vers;
		svc_sendreply(transport, (xdrproc_t)xdr_u_int, (char *)&number);
		return;
	default:
		svcerr_noproc(transport);
	}
}

int main(int argc, char **argv)
{
	int kind = 0, listens = 0;
	socklen_t size = sizeof kind;
	SVCXPRT *transport;

	if (argc != 4 || getsockopt(0, SOL_SOCKET, SO_TYPE, &kind, &size) != 0)
		return 2;
	size = sizeof listens;
	getsockopt(0, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
	if (kind == SOCK_DGRAM)
		transport = svc_dg_create(0, 0, 0);
	else if (listens)
		transport = svc_vc_create(0, 0, 0);
	else
		transport = svc_fd_create(0, 0, 0);
	if (transport == NULL)
		return 3;
	for (unsigned long version = strtoul(argv[2], NULL, 10); version <= strtoul(argv[3], NULL, 10); version++)
		/* No netconfig: rpcbind is the super-server's business. */
		if (!svc_reg(transport, strtoul(argv[1], NULL, 10), version, answer, NULL))
			return 4;
	for (;;) {
		fd_set ready = svc_fdset;
		struct timeval patience = { 1, 0 };

		if (select(svc_max_pollfd > 0 ? svc_max_pollfd : FD_SETSIZE, &ready, NULL, NULL, &patience) <= 0)
			return 0;
		svc_getreqset(&ready);
	}
}
