/* A send and a receive of the system without what socket.socket has around them.

   send and receive do not let go of the interpreter's lock: neither waits (their callers pass MSG_DONTWAIT, or it is
   added here), and giving the lock away and getting it back costs more than the call. receive_soon asks again and
   again for a while, and does let go of it. Where there is no MSG_DONTWAIT, as on Windows, there are none of them. */

#include "speedups.h"

#include <errno.h>

#ifdef __linux__
#include <sched.h>
#include <time.h>
#endif
#ifndef _WIN32
#include <sys/socket.h>
#include <sys/types.h>
#endif

#ifdef MSG_DONTWAIT
PyDoc_STRVAR(send_doc,
             "send(fd, data, size, flags)\n--\n\n"
             "As send(2), without letting go of the interpreter's lock; -1 for an error.");

static PyObject *
quick_send(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4 || !PyBytes_CheckExact(args[1])) {
        PyErr_SetString(PyExc_TypeError, "send takes fd, data: bytes, size, flags");
        return NULL;
    }
    long fd = PyLong_AsLong(args[0]), flags = PyLong_AsLong(args[3]);
    Py_ssize_t size = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred())
        return NULL;
    if (size < 0 || size > PyBytes_GET_SIZE(args[1]))
        size = PyBytes_GET_SIZE(args[1]);
    return PyLong_FromSsize_t(send((int)fd, PyBytes_AS_STRING(args[1]), (size_t)size, (int)flags));
}

#define MOST 4096

PyDoc_STRVAR(receive_doc,
             "receive(fd, size, peek=False)\n--\n\n"
             "Receive at most 4096 bytes, or only look at them, without blocking and without letting go of the\n"
             "interpreter's lock. None: nothing yet; b\"\": the end, or an error.");

static PyObject *
quick_receive(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    char data[MOST];
    if (count != 2 && count != 3) {
        PyErr_SetString(PyExc_TypeError, "receive takes fd, size, peek");
        return NULL;
    }
    int flags = MSG_DONTWAIT | (count == 3 && args[2] == Py_True ? MSG_PEEK : 0);
    long fd = PyLong_AsLong(args[0]);
    Py_ssize_t size = PyLong_AsSsize_t(args[1]), received;
    if (PyErr_Occurred())
        return NULL;
    if (size <= 0)
        return PyBytes_FromStringAndSize(NULL, 0); /* as socket.recv does */
    do
        received = recv((int)fd, data, size < MOST ? (size_t)size : MOST, flags);
    while (received < 0 && errno == EINTR);
    if (received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        Py_RETURN_NONE;
    return PyBytes_FromStringAndSize(data, received < 0 ? 0 : received);
}

#ifdef __linux__
PyDoc_STRVAR(receive_soon_doc,
             "receive_soon(fd, size, microseconds)\n--\n\n"
             "Receive as receive does, but of any size, and asking again and again for so long, without the\n"
             "interpreter's lock.");

static PyObject *
receive_soon(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "receive_soon takes fd, size, microseconds");
        return NULL;
    }
    long fd = PyLong_AsLong(args[0]), microseconds = PyLong_AsLong(args[2]);
    Py_ssize_t size = PyLong_AsSsize_t(args[1]), received;
    if (PyErr_Occurred())
        return NULL;
    if (size <= 0)
        return PyBytes_FromStringAndSize(NULL, 0);
    PyObject *data = PyBytes_FromStringAndSize(NULL, size);
    if (data == NULL)
        return NULL;
    char *start = PyBytes_AS_STRING(data);
    int later; /* there may be bytes later */
    Py_BEGIN_ALLOW_THREADS
    struct timespec begun, now;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (;;) {
        received = recv((int)fd, start, (size_t)size, MSG_DONTWAIT);
        later = received < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (!later
            || (now.tv_sec - begun.tv_sec) * 1000000LL + (now.tv_nsec - begun.tv_nsec) / 1000 >= microseconds)
            break;
        sched_yield(); /* whoever has something to do on this core goes first */
    }
    Py_END_ALLOW_THREADS
    if (later) {
        Py_DECREF(data);
        Py_RETURN_NONE;
    }
    _PyBytes_Resize(&data, received < 0 ? 0 : received);
    return data;
}
#endif /* __linux__ */
#endif /* MSG_DONTWAIT */

PyMethodDef sockets_functions[] = {
#ifdef MSG_DONTWAIT
    FUNCTION("send", quick_send, send_doc),
    FUNCTION("receive", quick_receive, receive_doc),
#ifdef __linux__
    FUNCTION("receive_soon", receive_soon, receive_soon_doc),
#endif
#endif
    END_OF_FUNCTIONS,
};
