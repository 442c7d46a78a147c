/* What the files of the C extension share: the contract with Python, and the few helpers that more than one of them
   needs.

   The contract. There is nothing here that is not in Python, too (encoding.py, decoding.py, protocol.py, frames.py,
   cluster/entries.py, tally.py),
   and the Python is what counts. C does the usual cases only. For everything else, for whatever is refused and whatever
   needs the user's code, it returns NotImplemented, and Python begins anew: C may only decline, and Python says why.
   So there is one place for each refusal and its text, and what C must never do is answer otherwise than Python.

   Locking. All of it but receive_soon holds the interpreter's lock from beginning to end, and runs no Python code in
   the middle of a container that another thread may change. A free-threaded CPython has no such lock: setup.py builds
   nothing there.

   The files, by what they are about:

       encoding.c   values and event messages to bytes
       decoding.c   bytes to values, events and publications, and the reply-to of a message that is not decoded
       frames.c     frames and masks (RFC 6455)
       sockets.c    a send and a receive that keep the interpreter's lock
       tally.c      what a connection counts
       module.c     the module, and what it borrows from Python

   Each of the first five has a table of the functions that Python sees; all else in a file is static. */

#ifndef EZEZ_WS_SPEEDUPS_H
#define EZEZ_WS_SPEEDUPS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdint.h>
#include <string.h>

/* Shared by these files, and not exported by the extension. */
#if defined(__GNUC__)
#define INTERNAL __attribute__((visibility("hidden")))
#else
#define INTERNAL
#endif

#define DIGITS 10            /* of a field's length */
#define RESERVED "ezez-ws::" /* protocol.py's: how the names of the protocol's own messages begin */

/* -- what Python has, set when the module is loaded; it lives as long as the process ------------------------------ */

INTERNAL extern PyObject *undefined;    /* scalars.UNDEFINED */
INTERNAL extern PyObject *parse_number; /* scalars.number */
INTERNAL extern PyObject *parse_bigint; /* scalars.bigint */

/* Return NotImplemented for a message that cannot be done here, whatever error of it is set; NULL where the error is
   another's, as one that a signal's handler has raised. */
INTERNAL PyObject *leave_to_python(void);

/* Whether an object is a name of ASCII characters that protocol.check_event_name lets pass; in encoding.c. */
INTERNAL int may_be_sent(PyObject *name);

/* -- the tables --------------------------------------------------------------------------------------------------- */

#define FUNCTION(name, function, doc) {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL, doc}
#define END_OF_FUNCTIONS {NULL, NULL, 0, NULL}

INTERNAL extern PyMethodDef encoding_functions[];
INTERNAL extern PyMethodDef decoding_functions[];
INTERNAL extern PyMethodDef frames_functions[];
INTERNAL extern PyMethodDef sockets_functions[];
INTERNAL extern PyMethodDef tally_functions[];

/* Add the type Tally to the module, where there is one; -1 on failure. */
INTERNAL int add_tally(PyObject *module);

/* -- named tuples, made without a call of their class ------------------------------------------------------------- */

static inline int
is_tuple_type(PyObject *object)
{
    return PyType_Check(object) && PyType_IsSubtype((PyTypeObject *)object, &PyTuple_Type);
}

/* Return a tuple of the type with room for `size` items, which are to be set; NULL where there is no memory. */
static inline PyObject *
new_tuple(PyObject *type, Py_ssize_t size)
{
    PyObject *tuple = ((PyTypeObject *)type)->tp_alloc((PyTypeObject *)type, size);
#if PY_VERSION_HEX >= 0x030E0000
    if (tuple != NULL)
        ((PyTupleObject *)tuple)->ob_hash = -1; /* not known yet; tp_alloc leaves a 0, which would be a hash */
#endif
    return tuple;
}

#endif
