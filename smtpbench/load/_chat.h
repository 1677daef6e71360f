/* Conducts SMTP transactions whose replies are all as wished: the octets of the next step go out as soon as
 * the reply to the last has come, and the time of each reply is kept. Whatever else comes ends the chat, and
 * is handed over as it is: what replies mean is decided in Python, by the methods that work without this file
 * too (see chat.py).
 *
 * Without PIPELINING a session wakes its process for every reply. Python, whose code has left the caches by
 * then, spends as much on that as the kernel does; here it takes a few lines of them.
 *
 * There is no Python in this part, and no lock of its interpreter is needed for it; _chat.c makes a type of it.
 */
#ifndef CHAT_H
#define CHAT_H

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 64, READ = 1024, REPLIES = 64, AHEAD = 8, HEAD = 6 };
enum { MANY = 8, NAP_NS = 10000, SELDOM = 63 };
enum { OUT = EVENTS * 3 * (HEAD + 2 * REPLIES) };

/* What is told of a chat. All but PROGRESS end it. SMOOTH: as DONE, and nothing was told of it before. */
enum { DONE, PROGRESS, UNUSUAL, BROKEN, SHORT, ENDED, SMOOTH, OTHER };

/* What is waited for. RFC 5321 §3.1: greeting and EHLO; §3.3: MAIL, RCPT, DATA and the content; §3.8: QUIT. */
enum { IDLE, CONNECTING, GREETING, HELLO, COMMAND, BODY, QUIT };

/* In the place of a code: the whole reply was the one that was expected; there is a connection. */
enum { AS_GREETED = -1, AS_OFFERED = -2, CONNECTED = -3 };

struct octets {
	const char *at;
	size_t size;
};

/* What a server will say before MAIL, and what is said to it. */
struct opening {
	struct octets greeting, hello, offers;
};

struct chat {
	uint8_t state, eager, whole; /* whole: from the connection to QUIT */
	uint8_t smooth;              /* nothing was told of it */
	uint8_t counted;             /* among those that have not heard the answer to EHLO yet */
	int32_t number; /* of the chats of this descriptor: what is told of an older one is nobody's */
	int32_t replies;
	struct opening opening;
	struct octets commands;       /* of each message */
	struct octets rest;           /* those that were not sent yet */
	struct octets content[AHEAD]; /* of the messages, in their order */
	int32_t messages, message;    /* how many, and which is under way */
	int32_t recipients;           /* of each message */
	int64_t sent;                 /* when the first was; if it is whole, when the connection was asked for */
	void *kept[3];         /* whoever owns these octets */
	int16_t code[REPLIES];
	int64_t at[REPLIES]; /* ns, CLOCK_MONOTONIC */
};

struct chats {
	atomic_int halted; /* no message begins any more; any thread may set it */
	int epoll;
	int slots, going; /* slots, and chats that are going on */
	int opening;      /* of which so many have not heard the answer to EHLO yet, and nobody else counts them */
	char awaited;     /* tell, once, that there is one less */
	int waits, seldom; /* since the last nap, and how many there are between two */
	struct chat *slot; /* by descriptor */
	int64_t used;      /* of `out`, and of `data` */
	int64_t data_used;
	int64_t out[OUT];
	char data[EVENTS * READ];
};

static const struct octets quit_line = {"QUIT\r\n", 6};

static int64_t now(void)
{
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * INT64_C(1000000000) + at.tv_nsec;
}

static struct chat *of(struct chats *all, int fd)
{
	return fd >= 0 && fd < all->slots ? &all->slot[fd] : NULL;
}

static struct chat *room_for(struct chats *all, int fd)
{
	if (fd >= all->slots) {
		int slots = fd < 64 ? 64 : 2 * fd;
		struct chat *more = realloc(all->slot, (size_t)slots * sizeof *more);
		if (!more)
			return NULL;
		memset(more + all->slots, 0, (size_t)(slots - all->slots) * sizeof *more);
		all->slot = more;
		all->slots = slots;
	}
	return &all->slot[fd];
}

/* Count it no more; whether it was. */
static int discount(struct chats *all, struct chat *chat)
{
	int was = chat->counted;
	all->opening -= was;
	chat->counted = 0;
	return was;
}

static void leave(struct chats *all, struct chat *chat)
{
	all->going -= chat->state != IDLE;
	discount(all, chat);
	chat->state = IDLE;
}

/* fd, what, number, a, b, how many replies, then code and time of each */
static void tell(struct chats *all, int fd, struct chat *chat, int what, int64_t a, int64_t b)
{
	int64_t *out = all->out + all->used;
	int replies = what == OTHER ? 0 : chat->replies;
	out[0] = fd;
	out[1] = what;
	out[2] = what == OTHER ? 0 : chat->number;
	out[3] = a;
	out[4] = b;
	out[5] = replies;
	for (int i = 0; i < replies; i++) {
		out[HEAD + 2 * i] = chat->code[i];
		out[HEAD + 2 * i + 1] = chat->at[i];
	}
	all->used += HEAD + 2 * replies;
	if (what == OTHER)
		return;
	chat->replies = 0;
	chat->smooth = 0;
	if (what != PROGRESS)
		leave(all, chat);
}

/* The code of `reply` if it is one line and says yes: what Python looks up in `_CODES`; else 0. */
static int code_of(const char *reply, size_t size)
{
	if (size < 6 || reply[0] < '2' || reply[0] > '3' || reply[1] < '0' || reply[1] > '5' || reply[2] < '0' ||
	    reply[2] > '9' || reply[3] != ' ')
		return 0;
	if (memchr(reply, '\r', size) != reply + size - 2 || memchr(reply, '\n', size) != reply + size - 1)
		return 0;
	return (reply[0] - '0') * 100 + (reply[1] - '0') * 10 + reply[2] - '0';
}

static int same(const struct octets *expected, const char *reply, size_t size)
{
	return expected->size == size && !memcmp(expected->at, reply, size);
}

/* What the reply is worth in the state of the chat: its code, or 0 if it is for Python to judge. */
static int judged(const struct chat *chat, const char *reply, size_t size)
{
	int code;
	if (chat->state == GREETING)
		return same(&chat->opening.greeting, reply, size) ? AS_GREETED : 0;
	if (chat->state == HELLO)
		return same(&chat->opening.offers, reply, size) ? AS_OFFERED : 0;
	code = code_of(reply, size);
	if (chat->state == COMMAND && !chat->rest.size) /* it was DATA */
		return code == 354 ? code : 0;
	return code < 300 ? code : 0;
}

static struct octets next_command(struct chat *chat)
{
	const char *end = memchr(chat->rest.at, '\n', chat->rest.size);
	struct octets line = {chat->rest.at, (size_t)(end + 1 - chat->rest.at)};
	chat->rest.at += line.size;
	chat->rest.size -= line.size;
	return line;
}

/* What follows the reply that has come; nothing where the chat is over. */
static struct octets following(struct chat *chat, const atomic_int *halted)
{
	switch (chat->state) {
	case GREETING:
		chat->state = HELLO;
		return chat->opening.hello;
	case HELLO:
		chat->state = COMMAND;
		return next_command(chat);
	case COMMAND:
		if (chat->rest.size)
			return next_command(chat);
		chat->state = BODY;
		return chat->content[chat->message];
	case BODY:
		if (chat->message + 1 < chat->messages && !atomic_load(halted)) {
			chat->message++;
			chat->rest = chat->commands;
			chat->state = COMMAND;
			return next_command(chat);
		}
		chat->state = QUIT;
		if (chat->whole)
			return quit_line;
	}
	return (struct octets){NULL, 0};
}

static int64_t say(int fd, struct octets octets)
{
	int64_t sent = send(fd, octets.at, octets.size, MSG_DONTWAIT | MSG_NOSIGNAL);
	return sent < 0 ? -errno : sent;
}

static void note(struct chat *chat, int code, int64_t at)
{
	chat->code[chat->replies] = (int16_t)code;
	chat->at[chat->replies++] = at;
}

/* EHLO is answered. What is told of it has the descriptor of `epoll`, which epoll itself tells nothing of. */
static void see_opened(struct chats *all, struct chat *chat)
{
	if (!discount(all, chat) || !all->awaited)
		return;
	all->awaited = 0;
	tell(all, all->epoll, NULL, OTHER, 0, 0);
}

/* Take what has come: whether anything has. `flags` are those of recv(2). */
static int listen_to(struct chats *all, int fd, struct chat *chat, int flags)
{
	char *reply = all->data + all->data_used;
	int64_t size = recv(fd, reply, READ, flags), at, sent;
	int code, greeted_fully;
	struct octets octets;
	if (size < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		return 0;
	if (size <= 0) {
		tell(all, fd, chat, BROKEN, size ? errno : 0, 0);
		return 1;
	}
	at = now();
	code = judged(chat, reply, (size_t)size);
	if (!code) {
		tell(all, fd, chat, UNUSUAL, all->data_used, size);
		all->data_used += size;
		return 1;
	}
	note(chat, code, at);
	greeted_fully = chat->state == HELLO;
	octets = following(chat, &all->halted);
	if (!octets.size) {
		tell(all, fd, chat, chat->smooth ? SMOOTH : DONE, 0, 0);
		return 1;
	}
	sent = say(fd, octets);
	if (greeted_fully)
		see_opened(all, chat);
	if (sent != (int64_t)octets.size)
		/* what was not sent is for Python, which gets to know of a broken connection that way too */
		tell(all, fd, chat, SHORT, sent < 0 ? 0 : sent, 0);
	else if (chat->replies == REPLIES || (greeted_fully && chat->eager))
		tell(all, fd, chat, PROGRESS, 0, 0);
	return 1;
}

/* Begin the chat that was prepared in a slot with the first command. Octets must stay where they are until its
 * end. -1 if it has begun, else how much of the command was sent. */
static int64_t begin(struct chats *all, int fd, struct chat *chat)
{
	struct octets line = next_command(chat);
	int64_t sent = say(fd, line);
	chat->number++;
	chat->replies = 0;
	chat->whole = 0;
	chat->smooth = 1;
	if (sent != (int64_t)line.size)
		return sent < 0 ? 0 : sent;
	chat->state = COMMAND;
	all->going++;
	return -1;
}

static const struct timeval briefly = {0, 1}; /* the shortest there is */
static const struct linger reset = {1, 0};    /* close without TIME_WAIT */
static const char reno[] = "reno";

/* See congestion.py. */
static int is_local(struct octets address)
{
	const struct sockaddr *to = (const void *)address.at;
	if (to->sa_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)(const void *)to)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return to->sa_family == AF_INET6 && address.size >= sizeof(struct sockaddr_in6) &&
	       IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)to)->sin6_addr);
}

/* Connect; the socket, or -errno. Its `alone` is for a socket that is to be read in `wait_for_one`. 0 in
 * `connected` says that there is no answer yet. */
static int connect_to(struct octets address, int alone, int *connected)
{
	const struct sockaddr *to = (const void *)address.at;
	int one = 1, done, saved;
	int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | (alone ? 0 : SOCK_NONBLOCK), 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (is_local(address))
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
	if (alone) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &briefly, sizeof briefly);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &briefly, sizeof briefly);
	}
	done = connect(fd, to, (socklen_t)address.size);
	if (done < 0 && errno == EINPROGRESS && !alone) /* over loopback, who asks again is told that it is done */
		done = connect(fd, to, (socklen_t)address.size);
	*connected = !done || errno == EISCONN;
	if (*connected || errno == EINPROGRESS || errno == EALREADY)
		return fd;
	saved = errno;
	close(fd);
	return -saved;
}

static int watch(struct chats *all, int fd, uint32_t more)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | more, .data.fd = fd};
	return epoll_ctl(all->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Reset the connection, so that its port is free at once. */
static void drop(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	close(fd);
}

/* Whether the attempt to connect has an end by now; what it is. */
static void see_connected(struct chats *all, int fd, struct chat *chat, uint32_t event)
{
	int error = 0;
	socklen_t size = sizeof error;
	if (!(event & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		return;
	getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
	if (error) {
		tell(all, fd, chat, BROKEN, error, 0);
		return;
	}
	chat->state = GREETING;
	note(chat, CONNECTED, now());
}

/* Tell what has come since it was told last; how much there is in `out`. */
static int64_t progress(struct chats *all, int fd)
{
	struct chat *chat = of(all, fd);
	all->used = 0;
	if (chat && chat->state != IDLE && chat->replies)
		tell(all, fd, chat, PROGRESS, 0, 0);
	return all->used;
}

/* Sleep for some µs, whatever comes; as epoll_wait(2) if a signal comes. */
static int nap(void)
{
	static const struct timespec some = {0, NAP_NS};
	static _Thread_local int precise;
	if (!precise)
		precise = !prctl(PR_SET_TIMERSLACK, 1); /* else it lasts 50 µs longer */
	return nanosleep(&some, NULL);
}

/* epoll_wait(2). Where many chats are going on with a fast server, the next reply is some µs off. To sleep until
 * it comes costs the server the time to wake us, and us to wake up, at every reply; after a nap there are some.
 * If there was none, the next nap is after more waits. */
static int wait_napping(struct chats *all, struct epoll_event *events, int timeout)
{
	int ready;
	if (!timeout || all->going < MANY || all->waits++ < all->seldom)
		return epoll_wait(all->epoll, events, EVENTS, timeout);
	all->waits = 0;
	ready = epoll_wait(all->epoll, events, EVENTS, 0);
	if (ready)
		return ready;
	ready = nap();
	if (!ready)
		ready = epoll_wait(all->epoll, events, EVENTS, 0);
	all->seldom = ready ? 0 : all->seldom < SELDOM ? 2 * all->seldom + 1 : SELDOM;
	return ready ? ready : epoll_wait(all->epoll, events, EVENTS, timeout);
}

/* Wait as epoll_wait(2) does, `timeout` in ms, until something happens that is no matter of a chat alone, or
 * the time is over; how much there is in `out`, -errno on failure. */
static int64_t wait_for_all(struct chats *all, int timeout)
{
	struct epoll_event events[EVENTS];
	int64_t until = timeout > 0 ? now() + timeout * INT64_C(1000000) : 0;
	all->used = all->data_used = 0;
	for (;;) {
		int ready = wait_napping(all, events, timeout);
		if (ready < 0)
			return errno == EINTR ? 0 : -errno;
		for (int i = 0; i < ready; i++) {
			int fd = events[i].data.fd;
			uint32_t event = events[i].events;
			int quitting;
			struct chat *chat = of(all, fd);
			if (!chat || chat->state == IDLE) {
				tell(all, fd, NULL, OTHER, event, 0);
				continue;
			}
			quitting = chat->state == QUIT;
			if (chat->state == CONNECTING)
				see_connected(all, fd, chat, event);
			if (chat->state > CONNECTING)
				listen_to(all, fd, chat, MSG_DONTWAIT);
			/* a server that closes after its answer to QUIT does as it shall */
			if (event & (EPOLLRDHUP | EPOLLHUP | EPOLLERR) && !(quitting && chat->state == IDLE)) {
				if (chat->state != IDLE)
					tell(all, fd, chat, ENDED, 0, 0);
				tell(all, fd, NULL, OTHER, event, 0);
			}
		}
		if (all->used || !ready || timeout == 0)
			return all->used;
		if (timeout > 0) {
			int64_t left = until - now();
			if (left <= 0)
				return 0;
			timeout = (int)(left / 1000000);
		}
	}
}

/* Read what comes for one chat, from a socket in blocking mode with a timeout of its own, until there is
 * something to tell or, between two replies, `until` (ns) has come; how much there is in `out`, -1 if nothing
 * has come for so long. */
static int64_t wait_for_one(struct chats *all, int fd, int64_t until)
{
	struct chat *chat = of(all, fd);
	all->used = all->data_used = 0;
	while (chat && chat->state != IDLE) {
		if (chat->state == CONNECTING || !listen_to(all, fd, chat, 0))
			return -1;
		if (all->used || chat->at[chat->replies - 1] >= until)
			break;
	}
	return all->used;
}

#endif
