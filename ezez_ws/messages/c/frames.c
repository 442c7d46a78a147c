/* Frames and masks (RFC 6455, sections 5.2 and 5.3), as frames.py and masking.py do it.

   These functions decline nothing: whole binary messages of less than 64 KiB are taken, and for all else the count
   of the bytes that were says where Python goes on. */

#include "speedups.h"

#define FIN_BINARY 0x82
#define MASK_BIT 0x80

static void
mask_into(char *to, const char *from, Py_ssize_t size, const char *mask, Py_ssize_t offset)
{
    char key[8];
    for (int i = 0; i < 8; i++)
        key[i] = mask[(offset + i) & 3];
    uint64_t wide, word;
    memcpy(&wide, key, 8);
    Py_ssize_t i = 0;
    for (; i + 8 <= size; i += 8) {
        memcpy(&word, from + i, 8);
        word ^= wide;
        memcpy(to + i, &word, 8);
    }
    for (; i < size; i++)
        to[i] = from[i] ^ key[i & 7];
}

PyDoc_STRVAR(apply_mask_doc,
             "apply_mask(payload, mask, offset=0)\n--\n\n"
             "As websocket.frames.apply_mask.");

static PyObject *
apply_mask(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    Py_ssize_t offset = count == 3 ? PyLong_AsSsize_t(args[2]) : 0;
    if (offset == -1 && PyErr_Occurred())
        return NULL;
    if (count < 2 || count > 3 || !PyBytes_CheckExact(args[0]) || !PyBytes_CheckExact(args[1])
        || PyBytes_GET_SIZE(args[1]) != 4 || offset < 0) {
        PyErr_SetString(PyExc_TypeError, "apply_mask takes payload: bytes, mask: four bytes, offset: int >= 0");
        return NULL;
    }
    Py_ssize_t size = PyBytes_GET_SIZE(args[0]);
    PyObject *masked = PyBytes_FromStringAndSize(NULL, size);
    if (masked != NULL && size)
        mask_into(PyBytes_AS_STRING(masked), PyBytes_AS_STRING(args[0]), size, PyBytes_AS_STRING(args[1]), offset & 3);
    return masked;
}

PyDoc_STRVAR(assemble_doc,
             "assemble(first, payload, mask)\n--\n\n"
             "As websocket.frames._assemble.");

static PyObject *
assemble(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    long first = count == 3 ? PyLong_AsLong(args[0]) : -1;
    if (first < 0 || first > 255 || !PyBytes_CheckExact(args[1])
        || (args[2] != Py_None && !(PyBytes_CheckExact(args[2]) && PyBytes_GET_SIZE(args[2]) == 4))) {
        PyErr_SetString(PyExc_TypeError, "assemble takes first: int, payload: bytes, mask: four bytes or None");
        return NULL;
    }
    char head[14];
    int masked = args[2] != Py_None;
    Py_ssize_t size = PyBytes_GET_SIZE(args[1]), used = 2;
    head[0] = (char)first;
    head[1] = (char)((masked ? MASK_BIT : 0) | (size < 126 ? size : size < 65536 ? 126 : 127));
    for (int width = size < 126 ? 0 : size < 65536 ? 2 : 8; width; width--)
        head[used++] = (char)((uint64_t)size >> 8 * (width - 1));
    if (masked) {
        memcpy(head + used, PyBytes_AS_STRING(args[2]), 4);
        used += 4;
    }
    PyObject *frame = PyBytes_FromStringAndSize(NULL, used + size);
    if (frame == NULL)
        return NULL;
    char *at = PyBytes_AS_STRING(frame);
    memcpy(at, head, used);
    if (masked)
        mask_into(at + used, PyBytes_AS_STRING(args[1]), size, PyBytes_AS_STRING(args[2]), 0);
    else
        memcpy(at + used, PyBytes_AS_STRING(args[1]), size);
    return frame;
}

/* Make a Message, a named tuple, of BINARY and a payload whose reference it takes; NULL on failure. */
static PyObject *
make_message(PyObject *type, PyObject *payload)
{
    PyObject *opcode = payload == NULL ? NULL : PyLong_FromLong(FIN_BINARY & 15);
    PyObject *message = opcode == NULL ? NULL : new_tuple(type, 2);
    if (message == NULL) {
        Py_XDECREF(opcode);
        Py_XDECREF(payload);
        return NULL;
    }
    PyTuple_SET_ITEM(message, 0, opcode);
    PyTuple_SET_ITEM(message, 1, payload);
    return message;
}

PyDoc_STRVAR(take_frames_doc,
             "take_frames(data, masked, max_payload, message_type, messages)\n--\n\n"
             "As websocket.frames._take_frames.");

static PyObject *
take_frames(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 5 || !PyBytes_CheckExact(args[0]) || !is_tuple_type(args[3]) || !PyList_CheckExact(args[4])) {
        PyErr_SetString(PyExc_TypeError,
                        "take_frames takes data: bytes, masked, max_payload, message_type, messages: list");
        return NULL;
    }
    long masked = PyLong_AsLong(args[1]);
    int beyond;
    long long limit = PyLong_AsLongLongAndOverflow(args[2], &beyond);
    if (PyErr_Occurred())
        return NULL;
    const char *data = PyBytes_AS_STRING(args[0]), *at = data, *end = at + PyBytes_GET_SIZE(args[0]);
    while (end - at > 6 && (unsigned char)at[0] == FIN_BINARY) {
        Py_ssize_t size = (unsigned char)at[1] ^ masked;
        const char *start = at + 2, *mask;
        if (size >= 126) {
            size = size == 126 ? (unsigned char)at[2] << 8 | (unsigned char)at[3] : 0;
            start += 2;
            if (size < 126)
                break;
        }
        mask = start;
        start += masked ? 4 : 0;
        if (size > end - start || (size > limit && beyond <= 0))
            break;
        PyObject *payload = PyBytes_FromStringAndSize(masked ? NULL : start, size);
        if (payload != NULL && masked)
            mask_into(PyBytes_AS_STRING(payload), start, size, mask, 0);
        PyObject *message = make_message(args[3], payload);
        int failed = message == NULL || PyList_Append(args[4], message) < 0;
        Py_XDECREF(message);
        if (failed)
            return NULL;
        at = start + size;
    }
    return PyLong_FromSsize_t(at - data);
}

PyMethodDef frames_functions[] = {
    FUNCTION("apply_mask", apply_mask, apply_mask_doc),
    FUNCTION("assemble", assemble, assemble_doc),
    FUNCTION("take_frames", take_frames, take_frames_doc),
    END_OF_FUNCTIONS,
};
