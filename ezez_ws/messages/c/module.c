/* The module ezez_ws.messages._speedups: its functions, from the other files, and what they borrow from Python. */

#include "speedups.h"

PyObject *undefined, *parse_number, *parse_bigint;

static PyObject *bad; /* refusals.Bad: what parse_number and parse_bigint raise */

PyObject *
leave_to_python(void)
{
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(bad) && !PyErr_ExceptionMatches(PyExc_UnicodeError)
        && !PyErr_ExceptionMatches(PyExc_MemoryError) && !PyErr_ExceptionMatches(PyExc_RecursionError))
        return NULL;
    PyErr_Clear();
    Py_RETURN_NOTIMPLEMENTED;
}

/* Set what is borrowed. Once in a process: what it points to belongs to one copy of the package. */
static int
borrow(PyObject *scalars, PyObject *refusals)
{
    PyObject *found = PyObject_GetAttrString(scalars, "UNDEFINED");
    if (found == NULL)
        return -1;
    if (undefined != NULL) {
        int same = found == undefined;
        Py_DECREF(found);
        if (!same) /* a subinterpreter, or a second copy of the package */
            PyErr_SetString(PyExc_ImportError, "ezez_ws.messages._speedups serves one copy of ezez_ws in a process");
        return same ? 0 : -1;
    }
    Py_XSETREF(parse_number, PyObject_GetAttrString(scalars, "number"));
    Py_XSETREF(parse_bigint, parse_number == NULL ? NULL : PyObject_GetAttrString(scalars, "bigint"));
    Py_XSETREF(bad, parse_bigint == NULL ? NULL : PyObject_GetAttrString(refusals, "Bad"));
    if (bad == NULL) {
        Py_DECREF(found);
        return -1;
    }
    undefined = found;
    return 0;
}

static int
execute(PyObject *module)
{
    PyMethodDef *tables[] = {encoding_functions, decoding_functions, frames_functions, sockets_functions,
                             tally_functions};
    PyObject *scalars = PyImport_ImportModule("ezez_ws.messages.scalars");
    PyObject *refusals = scalars == NULL ? NULL : PyImport_ImportModule("ezez_ws.messages.refusals");
    int failed = refusals == NULL ? -1 : borrow(scalars, refusals);
    Py_XDECREF(refusals);
    Py_XDECREF(scalars);
    for (size_t i = 0; !failed && i < Py_ARRAY_LENGTH(tables); i++)
        failed = PyModule_AddFunctions(module, tables[i]);
    if (!failed)
        failed = add_tally(module);
    return failed;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "ezez_ws.messages._speedups",
    .m_doc = "The costly parts of each message, in C.",
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
