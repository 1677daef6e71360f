/* The type `Chats` of Python, made of what is in _chat.h; _chat.pyi says what its methods take. */
#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <structmember.h>

#include "_chat.h"

enum { COMMANDS, CONTENTS, OPENING };

typedef struct {
	PyObject_HEAD
	struct chats all;
} Chats;

static void release(struct chat *chat)
{
	for (int i = 0; i < 3; i++)
		Py_CLEAR(*(PyObject **)&chat->kept[i]);
}

static struct octets octets_of(PyObject *bytes)
{
	return (struct octets){PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)};
}

/* code, time, code, time … */
static PyObject *replies_told(const int64_t *told, int64_t replies)
{
	PyObject *tuple = PyTuple_New(2 * replies);
	for (int64_t i = 0; tuple && i < 2 * replies; i++) {
		PyObject *number = PyLong_FromLongLong(told[i]);
		if (!number)
			Py_CLEAR(tuple);
		else
			PyTuple_SET_ITEM(tuple, i, number);
	}
	return tuple;
}

/* The µs of one phase of each message, as octets; `from` and `to` are the places of two replies among those of a
 * message, and -1 is the last of the message before. */
static PyObject *phase(const struct chat *chat, const int64_t *told, int each, int from, int to)
{
	int messages = chat->message + 1;
	PyObject *octets = PyBytes_FromStringAndSize(NULL, messages * (Py_ssize_t)sizeof(int64_t));
	int64_t *took = octets ? (int64_t *)PyBytes_AS_STRING(octets) : NULL;
	for (int i = 0; octets && i < messages; i++, told += 2 * each) {
		int64_t since = from >= 0 ? told[2 * from + 1] : i ? told[-1] : chat->sent;
		took[i] = (told[2 * to + 1] - since) / 1000;
	}
	return octets;
}

/* Codes as int16, then the µs of MAIL, RCPT, DATA, content and transaction as int64: all of each in their order. */
static PyObject *series_told(const struct chat *chat, const int64_t *told, int64_t replies)
{
	int each = chat->recipients + 3;
	PyObject *series = PyTuple_New(6), *part;
	PyObject *codes = PyBytes_FromStringAndSize(NULL, replies * (Py_ssize_t)sizeof(int16_t));
	PyObject *rcpts = PyBytes_FromStringAndSize(NULL, (chat->message + 1) * chat->recipients * (Py_ssize_t)sizeof(int64_t));
	int64_t *took = rcpts ? (int64_t *)PyBytes_AS_STRING(rcpts) : NULL;
	for (int64_t i = 0; codes && i < replies; i++)
		((int16_t *)PyBytes_AS_STRING(codes))[i] = (int16_t)told[2 * i];
	for (int64_t i = 0; rcpts && i < replies; i++)
		if (i % each > 0 && i % each <= chat->recipients)
			*took++ = (told[2 * i + 1] - told[2 * i - 1]) / 1000;
	if (series && codes && rcpts) {
		PyObject *parts[] = {codes, phase(chat, told, each, -1, 0), rcpts,
				     phase(chat, told, each, each - 3, each - 2), phase(chat, told, each, each - 2, each - 1),
				     phase(chat, told, each, -1, each - 1)};
		int whole = 1;
		for (int i = 0; i < 6; i++) {
			part = parts[i];
			whole &= part != NULL;
			PyTuple_SET_ITEM(series, i, part);
		}
		if (!whole)
			Py_CLEAR(series);
		return series;
	}
	Py_XDECREF(series);
	Py_XDECREF(codes);
	Py_XDECREF(rcpts);
	return NULL;
}

static int64_t first_code(struct octets reply)
{
	return (reply.at[0] - '0') * 100 + (reply.at[1] - '0') * 10 + reply.at[2] - '0';
}

/* When a whole chat has begun, then code, time, code, time …, all int64, as octets. */
static PyObject *visit_told(const struct chat *chat, int64_t *told, int64_t replies)
{
	PyObject *octets = PyBytes_FromStringAndSize(NULL, (1 + 2 * replies) * (Py_ssize_t)sizeof(int64_t));
	told[2] = first_code(chat->opening.greeting);
	told[4] = first_code(chat->opening.offers);
	if (octets) {
		memcpy(PyBytes_AS_STRING(octets), &chat->sent, sizeof chat->sent);
		memcpy(PyBytes_AS_STRING(octets) + sizeof chat->sent, told, (size_t)(2 * replies) * sizeof *told);
	}
	return octets;
}

static PyObject *smooth_told(const struct chat *chat, int64_t *told, int64_t replies)
{
	return chat->whole ? visit_told(chat, told, replies) : series_told(chat, told, replies);
}

/* (descriptor, events), or for a chat (~descriptor, (what, number, at, replies, octets)) */
static PyObject *event_told(struct chats *all, int64_t *out)
{
	int64_t what = out[1], at = out[3], size = out[4];
	PyObject *replies, *octets, *told;
	if (what == OTHER)
		return Py_BuildValue("(LL)", out[0], at);
	if (what == SMOOTH)
		at = out[HEAD + 2 * out[5] - 1]; /* of the last reply */
	replies = what == SMOOTH ? smooth_told(&all->slot[out[0]], out + HEAD, out[5]) : replies_told(out + HEAD, out[5]);
	if (what != PROGRESS)
		release(&all->slot[out[0]]);
	octets = PyBytes_FromStringAndSize(all->data + (what == UNUSUAL ? at : 0), what == UNUSUAL ? size : 0);
	if (!replies || !octets) {
		Py_XDECREF(replies);
		Py_XDECREF(octets);
		return NULL;
	}
	told = Py_BuildValue("(LLLNN)", what, out[2], at, replies, octets);
	return told ? Py_BuildValue("(LN)", ~out[0], told) : NULL;
}

static PyObject *all_told(struct chats *all, int64_t used)
{
	PyObject *list;
	if (used < 0) {
		errno = (int)-used;
		return PyErr_SetFromErrno(PyExc_OSError);
	}
	list = PyList_New(0);
	for (int64_t *out = all->out; list && out < all->out + used; out += HEAD + 2 * out[5]) {
		PyObject *event = event_told(all, out);
		if (!event || PyList_Append(list, event) < 0)
			Py_CLEAR(list);
		Py_XDECREF(event);
	}
	return list;
}

static PyObject *chats_poll(Chats *self, PyObject *const *args, Py_ssize_t count)
{
	int64_t used;
	double seconds = count ? PyFloat_AsDouble(args[0]) : 0;
	if (seconds == -1.0 && PyErr_Occurred())
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	used = wait_for_all(&self->all, seconds < 0 ? -1 : (int)(seconds * 1000));
	Py_END_ALLOW_THREADS
	if (PyErr_CheckSignals() < 0)
		return NULL;
	return all_told(&self->all, used);
}

static PyObject *chats_alone(Chats *self, PyObject *const *args, Py_ssize_t count)
{
	int64_t used, until;
	int fd;
	if (count != 2)
		return PyErr_Format(PyExc_TypeError, "alone takes 2 arguments");
	fd = (int)PyLong_AsLong(args[0]);
	until = PyLong_AsLongLong(args[1]);
	if (PyErr_Occurred())
		return NULL;
	Py_BEGIN_ALLOW_THREADS
	used = wait_for_one(&self->all, fd, until);
	Py_END_ALLOW_THREADS
	if (used == -1)
		Py_RETURN_NONE;
	return all_told(&self->all, used);
}

static PyObject *chats_progress(Chats *self, PyObject *number)
{
	int fd = (int)PyLong_AsLong(number);
	if (PyErr_Occurred())
		return NULL;
	return all_told(&self->all, progress(&self->all, fd));
}

/* The slot of `fd`, prepared for a chat with these octets; NULL with an exception. */
static struct chat *prepared(Chats *self, int fd, PyObject *commands, PyObject *contents)
{
	struct chat *chat = fd < 0 ? NULL : room_for(&self->all, fd);
	if (!chat) {
		PyErr_NoMemory();
		return NULL;
	}
	leave(&self->all, chat);
	release(chat);
	chat->commands = chat->rest = octets_of(commands);
	chat->messages = (int32_t)PyTuple_GET_SIZE(contents);
	chat->message = 0;
	chat->recipients = -2; /* MAIL and DATA are none */
	for (size_t i = 0; i < chat->commands.size; i++)
		chat->recipients += chat->commands.at[i] == '\n';
	for (int i = 0; i < chat->messages; i++)
		chat->content[i] = octets_of(PyTuple_GET_ITEM(contents, i));
	return chat;
}

static void keep(struct chat *chat, PyObject *commands, PyObject *contents, PyObject *opening)
{
	chat->kept[COMMANDS] = Py_NewRef(commands);
	chat->kept[CONTENTS] = Py_NewRef(contents);
	chat->kept[OPENING] = Py_XNewRef(opening);
}

static int are_bytes(PyObject *tuple, Py_ssize_t least, Py_ssize_t most)
{
	if (!PyTuple_Check(tuple) || PyTuple_GET_SIZE(tuple) < least || PyTuple_GET_SIZE(tuple) > most)
		return 0;
	for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++)
		if (!PyBytes_Check(PyTuple_GET_ITEM(tuple, i)))
			return 0;
	return 1;
}

static int are_messages(PyObject *commands, PyObject *contents)
{
	if (!PyBytes_Check(commands) || !are_bytes(contents, 1, AHEAD))
		PyErr_Format(PyExc_TypeError, "commands are bytes, contents a tuple of 1 to %d", AHEAD);
	else if (!PyBytes_GET_SIZE(commands) || PyBytes_AS_STRING(commands)[PyBytes_GET_SIZE(commands) - 1] != '\n')
		PyErr_SetString(PyExc_ValueError, "commands end with a line end");
	else
		return 1;
	return 0;
}

static PyObject *chats_start(Chats *self, PyObject *const *args, Py_ssize_t count)
{
	struct chat *chat;
	int64_t sent;
	int fd;
	if (count != 4)
		return PyErr_Format(PyExc_TypeError, "start takes 4 arguments");
	fd = (int)PyLong_AsLong(args[0]);
	if (PyErr_Occurred() || !are_messages(args[1], args[2]))
		return NULL;
	chat = prepared(self, fd, args[1], args[2]);
	if (!chat)
		return NULL;
	chat->sent = PyLong_AsLongLong(args[3]);
	if (chat->sent == -1 && PyErr_Occurred())
		return NULL;
	sent = begin(&self->all, fd, chat);
	if (sent >= 0)
		return PyLong_FromLongLong(sent);
	keep(chat, args[1], args[2], NULL);
	return PyLong_FromLongLong(-(int64_t)chat->number);
}

/* How many messages of the chat have not begun and now never will. */
static PyObject *chats_curtail(Chats *self, PyObject *number)
{
	struct chat *chat = of(&self->all, (int)PyLong_AsLong(number));
	int spared = 0;
	if (PyErr_Occurred())
		return NULL;
	if (chat && chat->state != IDLE) {
		spared = chat->messages - chat->message - 1;
		chat->messages = chat->message + 1;
	}
	return PyLong_FromLong(spared);
}

static int is_opening(PyObject *opening)
{
	if (are_bytes(opening, 4, 4) && PyBytes_GET_SIZE(PyTuple_GET_ITEM(opening, 3)) >= (Py_ssize_t)sizeof(struct sockaddr_in))
		return 1;
	PyErr_SetString(PyExc_TypeError, "an opening is greeting, hello, offers and address, all bytes");
	return 0;
}

static PyObject *chats_visit(Chats *self, PyObject *const *args, Py_ssize_t count)
{
	struct octets octets[4];
	struct chat *chat;
	int fd, alone, watched, connected = 0;
	int64_t started;
	if (count != 4)
		return PyErr_Format(PyExc_TypeError, "visit takes 4 arguments");
	if (!is_opening(args[0]) || !are_messages(args[1], args[2]))
		return NULL;
	for (int i = 0; i < 4; i++)
		octets[i] = octets_of(PyTuple_GET_ITEM(args[0], i));
	alone = args[3] == Py_True;
	started = now();
	fd = connect_to(octets[3], alone, &connected);
	if (fd < 0)
		return Py_BuildValue("(iii)", fd, 0, 0);
	watched = !alone || !connected;
	chat = prepared(self, fd, args[1], args[2]);
	if (!chat || (watched && watch(&self->all, fd, connected ? 0 : EPOLLOUT) < 0)) {
		drop(fd);
		return chat ? PyErr_SetFromErrno(PyExc_OSError) : NULL;
	}
	chat->opening = (struct opening){octets[0], octets[1], octets[2]};
	chat->number++;
	chat->replies = 0;
	chat->eager = 0;
	chat->whole = chat->smooth = 1;
	chat->sent = started;
	chat->state = connected ? GREETING : CONNECTING;
	self->all.going++;
	self->all.opening += chat->counted = 1;
	if (connected)
		note(chat, CONNECTED, now());
	keep(chat, args[1], args[2], args[0]);
	return Py_BuildValue("(iii)", fd, chat->number, watched);
}

static PyObject *chats_watch(Chats *self, PyObject *number)
{
	int fd = (int)PyLong_AsLong(number);
	if (PyErr_Occurred())
		return NULL;
	if (watch(&self->all, fd, 0) < 0)
		return PyErr_SetFromErrno(PyExc_OSError);
	Py_RETURN_NONE;
}

static PyObject *chats_drop(Chats *self, PyObject *number)
{
	int fd = (int)PyLong_AsLong(number);
	struct chat *chat = of(&self->all, fd);
	if (PyErr_Occurred())
		return NULL;
	if (chat) {
		leave(&self->all, chat);
		release(chat);
	}
	drop(fd);
	Py_RETURN_NONE;
}

static PyObject *chats_halt(Chats *self, PyObject *Py_UNUSED(nothing))
{
	atomic_store(&self->all.halted, 1);
	Py_RETURN_NONE;
}

static PyObject *chats_forget(Chats *self, PyObject *number)
{
	struct chat *chat = of(&self->all, (int)PyLong_AsLong(number));
	if (PyErr_Occurred())
		return NULL;
	if (chat) {
		leave(&self->all, chat);
		release(chat);
	}
	Py_RETURN_NONE;
}

static PyObject *chats_hasten(Chats *self, PyObject *number)
{
	struct chat *chat = of(&self->all, (int)PyLong_AsLong(number));
	if (PyErr_Occurred())
		return NULL;
	if (chat) {
		discount(&self->all, chat);
		chat->eager = 1;
		chat->smooth = 0;
	}
	Py_RETURN_NONE;
}

static PyObject *chats_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(named))
{
	Chats *self;
	int epoll;
	if (!PyArg_ParseTuple(args, "i", &epoll))
		return NULL;
	self = (Chats *)type->tp_alloc(type, 0);
	if (self)
		self->all.epoll = epoll;
	return (PyObject *)self;
}

static void chats_dealloc(Chats *self)
{
	for (int fd = 0; fd < self->all.slots; fd++)
		release(&self->all.slot[fd]);
	free(self->all.slot);
	Py_TYPE(self)->tp_free(self);
}

static PyMethodDef methods[] = {
    {"poll", (PyCFunction)(void (*)(void))chats_poll, METH_FASTCALL, NULL},
    {"alone", (PyCFunction)(void (*)(void))chats_alone, METH_FASTCALL, NULL},
    {"progress", (PyCFunction)chats_progress, METH_O, NULL},
    {"start", (PyCFunction)(void (*)(void))chats_start, METH_FASTCALL, NULL},
    {"visit", (PyCFunction)(void (*)(void))chats_visit, METH_FASTCALL, NULL},
    {"watch", (PyCFunction)chats_watch, METH_O, NULL},
    {"drop", (PyCFunction)chats_drop, METH_O, NULL},
    {"curtail", (PyCFunction)chats_curtail, METH_O, NULL},
    {"halt", (PyCFunction)chats_halt, METH_NOARGS, NULL},
    {"forget", (PyCFunction)chats_forget, METH_O, NULL},
    {"hasten", (PyCFunction)chats_hasten, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"opening", T_INT, offsetof(Chats, all.opening), READONLY, NULL},
    {"awaited", T_BOOL, offsetof(Chats, all.awaited), 0, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyTypeObject chats_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "smtpbench.load._chat.Chats",
    .tp_basicsize = sizeof(Chats),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = chats_new,
    .tp_dealloc = (destructor)chats_dealloc,
    .tp_methods = methods,
    .tp_members = members,
};

static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, .m_name = "_chat", .m_size = -1};

PyMODINIT_FUNC PyInit__chat(void)
{
	PyObject *made = PyModule_Create(&module);
	if (!made)
		return NULL;
	if (PyModule_AddType(made, &chats_type) < 0 || PyModule_AddIntMacro(made, READ) < 0 ||
	    PyModule_AddIntMacro(made, AHEAD) < 0)
		Py_CLEAR(made);
	return made;
}
