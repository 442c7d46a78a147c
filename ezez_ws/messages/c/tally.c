/* What one connection counts, as tally.py does it: a handful of additions for each message, which in Python would take
   a fiftieth of its time. Linux only, whose monotonic clock is the one that Python's time.monotonic reads. */

#include "speedups.h"

#ifdef __linux__

#include <structmember.h>
#include <time.h>

/* tally.py's BOUNDS, in seconds; what took longer is counted behind the last. */
static const double bounds[] = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};
#define BUCKETS ((Py_ssize_t)(sizeof(bounds) / sizeof(bounds[0])) + 1) /* Py_ARRAY_LENGTH is no constant from 3.13 on */

typedef struct {
    double sum;
    unsigned long long counts[BUCKETS];
} Histogram;

typedef struct {
    PyObject_HEAD
    unsigned long long received, bytes_received, sent, bytes_sent, timed_out, expired;
    PyObject *what; /* a str while user code runs; NULL: none does */
    double since;
    Histogram *listener, *waiting; /* one block, taken with the first event: an idle connection has none */
} Tally;

static PyObject *replaced_clock; /* a callable, in tests that stop the time */
static PyTypeObject *tally_type;

static int
read_clock(double *now)
{
    if (replaced_clock != NULL) {
        PyObject *read = PyObject_CallNoArgs(replaced_clock);
        *now = read == NULL ? 0 : PyFloat_AsDouble(read);
        Py_XDECREF(read);
        return PyErr_Occurred() ? -1 : 0;
    }
    struct timespec read;
    clock_gettime(CLOCK_MONOTONIC, &read);
    *now = (double)read.tv_sec + (double)read.tv_nsec * 1e-9;
    return 0;
}

static void
observe(Histogram *histogram, double seconds)
{
    Py_ssize_t bucket = 0;
    seconds = seconds > 0 ? seconds : 0;
    while (bucket < BUCKETS - 1 && seconds > bounds[bucket])
        bucket++;
    histogram->sum += seconds;
    histogram->counts[bucket]++;
}

static int
need_histograms(Tally *self)
{
    if (self->listener != NULL)
        return 0;
    Histogram *both = PyMem_Calloc(2, sizeof(Histogram));
    if (both == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    self->listener = both;
    self->waiting = both + 1;
    return 0;
}

static Py_ssize_t
size_of(PyObject *payload)
{
    return PyBytes_CheckExact(payload) ? PyBytes_GET_SIZE(payload) : PyObject_Length(payload);
}

PyDoc_STRVAR(begin_doc,
             "begin(what, payload, read_at)\n--\n\n"
             "Count a message that was read, and note that its listeners run from now on.");

static PyObject *
begin(Tally *self, PyObject *const *args, Py_ssize_t count)
{
    double now, read_at;
    if (count != 3 || !PyUnicode_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "begin takes what: str, payload, read_at: float");
        return NULL;
    }
    read_at = PyFloat_AsDouble(args[2]);
    Py_ssize_t size = size_of(args[1]);
    if (PyErr_Occurred() || need_histograms(self) < 0 || read_clock(&now) < 0)
        return NULL;
    self->received++;
    self->bytes_received += (unsigned long long)size;
    observe(self->waiting, now - read_at);
    self->since = now;
    Py_INCREF(args[0]);
    Py_XSETREF(self->what, args[0]);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(end_doc,
             "end()\n--\n\n"
             "Note that those have returned.");

static PyObject *
end(Tally *self, PyObject *Py_UNUSED(none))
{
    double now;
    if (self->what == NULL || self->listener == NULL)
        Py_RETURN_NONE;
    if (read_clock(&now) < 0)
        return NULL;
    observe(self->listener, now - self->since);
    Py_CLEAR(self->what);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(running_doc,
             "running()\n--\n\n"
             "Return what runs, and since when; None: nothing.");

static PyObject *
running(Tally *self, PyObject *Py_UNUSED(none))
{
    if (self->what == NULL)
        Py_RETURN_NONE;
    double since = self->since;
    PyObject *what = self->what;
    Py_INCREF(what); /* before all else: to make the tuple may collect garbage, and let another thread end it */
    return Py_BuildValue("Nd", what, since);
}

PyDoc_STRVAR(enter_doc,
             "enter(what)\n--\n\n"
             "Note that something else runs from now on; return what is to be given to resume.");

static PyObject *
enter(Tally *self, PyObject *what)
{
    double now;
    if (!PyUnicode_Check(what)) {
        PyErr_SetString(PyExc_TypeError, "enter takes what: str");
        return NULL;
    }
    if (read_clock(&now) < 0)
        return NULL;
    PyObject *before = running(self, NULL);
    if (before == NULL)
        return NULL;
    self->since = now;
    Py_INCREF(what);
    Py_XSETREF(self->what, what);
    return before;
}

PyDoc_STRVAR(resume_doc,
             "resume(before)\n--\n\n"
             "Note that it has returned, and that what ran before goes on.");

static PyObject *
resume(Tally *self, PyObject *before)
{
    if (before == Py_None) {
        Py_CLEAR(self->what);
        Py_RETURN_NONE;
    }
    if (!PyTuple_CheckExact(before) || PyTuple_GET_SIZE(before) != 2 || !PyUnicode_Check(PyTuple_GET_ITEM(before, 0))) {
        PyErr_SetString(PyExc_TypeError, "resume takes what enter has returned");
        return NULL;
    }
    double since = PyFloat_AsDouble(PyTuple_GET_ITEM(before, 1));
    if (PyErr_Occurred())
        return NULL;
    self->since = since;
    PyObject *what = PyTuple_GET_ITEM(before, 0);
    Py_INCREF(what);
    Py_XSETREF(self->what, what);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(take_doc,
             "take(payload)\n--\n\n"
             "Count a message that was read, and that nobody's code is called for.");

static PyObject *
take(Tally *self, PyObject *payload)
{
    Py_ssize_t size = size_of(payload);
    if (size < 0)
        return NULL;
    self->received++;
    self->bytes_received += (unsigned long long)size;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(put_doc,
             "put(payload)\n--\n\n"
             "Count a message that is sent.");

static PyObject *
put(Tally *self, PyObject *payload)
{
    Py_ssize_t size = size_of(payload);
    if (size < 0)
        return NULL;
    self->sent++;
    self->bytes_sent += (unsigned long long)size;
    Py_RETURN_NONE;
}

PyDoc_STRVAR(now_doc,
             "now()\n--\n\n"
             "Return the time.");

static PyObject *
now(Tally *Py_UNUSED(self), PyObject *Py_UNUSED(none))
{
    double seconds;
    return read_clock(&seconds) < 0 ? NULL : PyFloat_FromDouble(seconds);
}

static void
add_histogram(Histogram *to, const Histogram *from)
{
    to->sum += from->sum;
    for (Py_ssize_t i = 0; i < BUCKETS; i++)
        to->counts[i] += from->counts[i];
}

PyDoc_STRVAR(add_doc,
             "add(other)\n--\n\n"
             "Count all that another has counted.");

static PyObject *
add(Tally *self, PyObject *object)
{
    if (!Py_IS_TYPE(object, tally_type)) {
        PyErr_SetString(PyExc_TypeError, "add takes a Tally");
        return NULL;
    }
    Tally *other = (Tally *)object;
    if (other->listener != NULL) {
        if (need_histograms(self) < 0)
            return NULL;
        add_histogram(self->listener, other->listener);
        add_histogram(self->waiting, other->waiting);
    }
    self->received += other->received;
    self->bytes_received += other->bytes_received;
    self->sent += other->sent;
    self->bytes_sent += other->bytes_sent;
    self->timed_out += other->timed_out;
    self->expired += other->expired;
    Py_RETURN_NONE;
}

static PyObject *
list_counts(const Histogram *histogram)
{
    PyObject *counts = PyList_New(BUCKETS);
    for (Py_ssize_t i = 0; counts != NULL && i < BUCKETS; i++) {
        PyObject *number = PyLong_FromUnsignedLongLong(histogram == NULL ? 0 : histogram->counts[i]);
        if (number == NULL)
            Py_CLEAR(counts);
        else
            PyList_SET_ITEM(counts, i, number);
    }
    return counts;
}

PyDoc_STRVAR(histograms_doc,
             "histograms()\n--\n\n"
             "Return (sum, counts) of the listeners' seconds, and of the seconds that events have waited.");

static PyObject *
histograms(Tally *self, PyObject *Py_UNUSED(none))
{
    double listened = self->listener == NULL ? 0 : self->listener->sum;
    double waited = self->waiting == NULL ? 0 : self->waiting->sum;
    return Py_BuildValue("(dN)(dN)", listened, list_counts(self->listener), waited, list_counts(self->waiting));
}

static void
dealloc(Tally *self)
{
    PyTypeObject *type = Py_TYPE(self);
    Py_CLEAR(self->what);
    PyMem_Free(self->listener);
    type->tp_free((PyObject *)self);
    Py_DECREF(type);
}

#define NUMBER(name, flags) {#name, T_ULONGLONG, offsetof(Tally, name), flags, NULL}

static PyMemberDef members[] = {
    NUMBER(received, READONLY),
    NUMBER(bytes_received, READONLY),
    NUMBER(sent, READONLY),
    NUMBER(bytes_sent, READONLY),
    NUMBER(timed_out, 0),
    NUMBER(expired, 0),
    {NULL, 0, 0, 0, NULL},
};

#define METHOD(name, function, flags, doc) {name, (PyCFunction)(void (*)(void))function, flags, doc}

static PyMethodDef methods[] = {
    METHOD("begin", begin, METH_FASTCALL, begin_doc),
    METHOD("end", end, METH_NOARGS, end_doc),
    METHOD("running", running, METH_NOARGS, running_doc),
    METHOD("enter", enter, METH_O, enter_doc),
    METHOD("resume", resume, METH_O, resume_doc),
    METHOD("take", take, METH_O, take_doc),
    METHOD("put", put, METH_O, put_doc),
    METHOD("now", now, METH_NOARGS, now_doc),
    METHOD("add", add, METH_O, add_doc),
    METHOD("histograms", histograms, METH_NOARGS, histograms_doc),
    END_OF_FUNCTIONS,
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "What one connection counts, as messages.tally.Tally."},
    {Py_tp_dealloc, dealloc},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "ezez_ws.messages._speedups.Tally",
    .basicsize = sizeof(Tally),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

PyDoc_STRVAR(use_clock_doc,
             "use_clock(clock)\n--\n\n"
             "Have all of them read the time from a callable; None: from the system again.");

static PyObject *
use_clock(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 1) {
        PyErr_SetString(PyExc_TypeError, "use_clock takes a callable or None");
        return NULL;
    }
    Py_XINCREF(args[0]);
    Py_XSETREF(replaced_clock, args[0]);
    if (replaced_clock == Py_None)
        Py_CLEAR(replaced_clock);
    Py_RETURN_NONE;
}

PyMethodDef tally_functions[] = {
    FUNCTION("use_clock", use_clock, use_clock_doc),
    END_OF_FUNCTIONS,
};

int
add_tally(PyObject *module)
{
    if (tally_type == NULL)
        tally_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return tally_type == NULL ? -1 : PyModule_AddObjectRef(module, "Tally", (PyObject *)tally_type);
}

#else

PyMethodDef tally_functions[] = {END_OF_FUNCTIONS};

int
add_tally(PyObject *Py_UNUSED(module))
{
    return 0;
}

#endif
