/* Values and event messages to bytes, as Codec.encode and Codec._encode_event do it.

   A message is written in one pass into a buffer that begins on the stack. A j field has its length before its JSON
   text, so the text is written behind the longest head that it may have, and moved up to it when it is complete. */

#include "speedups.h"

#define MAX_SAFE 9007199254740991LL /* JavaScript's Number.MAX_SAFE_INTEGER */
#define LOCAL "ezez-ws:incoming:"   /* protocol.py's: how the names begin that a client makes for itself */

/* -- a buffer that grows ------------------------------------------------------------------------------------------ */

typedef struct {
    char *at;        /* where to write next */
    char *start, *end;
    PyObject *bytes; /* what start points into; NULL while that is the array below */
    char small[1024];
} Buffer;

static void
buffer_init(Buffer *out)
{
    out->at = out->start = out->small;
    out->end = out->small + sizeof out->small;
    out->bytes = NULL;
}

/* Make room; 0, or -1 where there is no memory. */
static int
reserve(Buffer *out, Py_ssize_t room)
{
    if (out->end - out->at >= room)
        return 0;
    Py_ssize_t used = out->at - out->start, size = out->end - out->start;
    if (room > PY_SSIZE_T_MAX / 2 - size)
        return -1;
    size = used + room > size * 2 ? used + room : size * 2;
    if (out->bytes == NULL) {
        out->bytes = PyBytes_FromStringAndSize(NULL, size);
        if (out->bytes == NULL)
            return -1;
        memcpy(PyBytes_AS_STRING(out->bytes), out->start, used);
    }
    else if (_PyBytes_Resize(&out->bytes, size) < 0)
        return -1;
    out->start = PyBytes_AS_STRING(out->bytes);
    out->at = out->start + used;
    out->end = out->start + size;
    return 0;
}

static int
write_bytes(Buffer *out, const char *data, Py_ssize_t size)
{
    if (reserve(out, size) < 0)
        return -1;
    memcpy(out->at, data, size);
    out->at += size;
    return 0;
}

/* Write the decimal digits at `at`, which has room for 20, and return their end. */
static char *
put_digits(char *at, uint64_t value)
{
    char digits[20];
    int count = 0;
    do
        digits[count++] = (char)('0' + value % 10);
    while (value /= 10);
    while (count)
        *at++ = digits[--count];
    return at;
}

static PyObject *
take_bytes(Buffer *out)
{
    Py_ssize_t size = out->at - out->start;
    if (out->bytes == NULL)
        return PyBytes_FromStringAndSize(out->start, size);
    PyObject *bytes = out->bytes;
    out->bytes = NULL;
    _PyBytes_Resize(&bytes, size); /* NULL where that fails */
    return bytes;
}

/* -- one value ---------------------------------------------------------------------------------------------------- */

/* Whether the characters of a str may be looked at; before CPython 3.12 some had to be put in order first. */
static inline int
is_ready(PyObject *text)
{
#if PY_VERSION_HEX < 0x030C0000
    return PyUnicode_READY(text) == 0;
#else
    (void)text;
    return 1;
#endif
}

/* The UTF-8 of an exact str. *owner is what to give back, NULL for nothing. NULL for a lone surrogate. */
static const char *
text_of(PyObject *text, Py_ssize_t *size, PyObject **owner)
{
    *owner = NULL;
    if (!is_ready(text))
        return NULL;
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        *size = PyUnicode_GET_LENGTH(text);
        return (const char *)PyUnicode_1BYTE_DATA(text);
    }
    *owner = PyUnicode_AsUTF8String(text); /* PyUnicode_AsUTF8 would keep it with the str for ever */
    if (*owner == NULL)
        return NULL;
    *size = PyBytes_GET_SIZE(*owner);
    return PyBytes_AS_STRING(*owner);
}

/* Write what json.encoder.encode_basestring leaves between the quotes: JSON.stringify does the same. */
static int
write_escaped(Buffer *out, const char *text, Py_ssize_t size)
{
    const char *end = text + size;
    while (text < end) {
        const char *stop = text;
        while (stop < end && (unsigned char)*stop >= ' ' && *stop != '"' && *stop != '\\')
            stop++;
        if (write_bytes(out, text, stop - text) < 0)
            return -1;
        if (stop == end)
            return 0;
        if (reserve(out, 6) < 0)
            return -1;
        const char *known = strchr("\"\"\\\\\bb\ff\nn\rr\tt", *stop), *hex = "0123456789abcdef";
        *out->at++ = '\\';
        if (*stop && known)
            *out->at++ = known[1];
        else {
            memcpy(out->at, "u00", 3);
            out->at[3] = hex[(unsigned char)*stop >> 4];
            out->at[4] = hex[*stop & 15];
            out->at += 5;
        }
        text = stop + 1;
    }
    return 0;
}

static int
write_string(Buffer *out, PyObject *text, const char *tag)
{
    PyObject *owner;
    Py_ssize_t size;
    const char *data = text_of(text, &size, &owner);
    if (data == NULL)
        return -1;
    int failed = write_bytes(out, tag, strlen(tag)) < 0 || write_escaped(out, data, size) < 0
                 || write_bytes(out, "\"", 1) < 0;
    Py_XDECREF(owner);
    return failed ? -1 : 0;
}

/* Write an exponent form as JavaScript does, which takes it from 1e21 and below 1e-6: Python from 1e16 and 1e-4. */
static int
write_exponent_form(Buffer *out, const char *text, const char *e)
{
    int exponent = atoi(e + 1), count = 0;
    char digits[32];
    if (exponent <= -7 || exponent >= 21) {
        if (write_bytes(out, text, e - text) < 0 || reserve(out, 8) < 0)
            return -1;
        *out->at++ = 'e';
        *out->at++ = exponent < 0 ? '-' : '+';
        out->at = put_digits(out->at, exponent < 0 ? -exponent : exponent);
        return 0;
    }
    if (reserve(out, 48) < 0)
        return -1;
    if (*text == '-')
        *out->at++ = *text++;
    for (; text < e && count < 20; text++)
        if (*text != '.')
            digits[count++] = *text;
    if (exponent < 0) {
        *out->at++ = '0';
        *out->at++ = '.';
        for (int zeros = -exponent - 1; zeros; zeros--)
            *out->at++ = '0';
    }
    memcpy(out->at, digits, count);
    out->at += count;
    for (; count <= exponent; count++)
        *out->at++ = '0';
    return 0;
}

static int
write_float(Buffer *out, double value)
{
    if (value == 0)
        return write_bytes(out, "0", 1); /* -0.0, too */
    if (value != value)
        return write_bytes(out, "NaN", 3);
    if (value - value != 0)
        return value > 0 ? write_bytes(out, "Infinity", 8) : write_bytes(out, "-Infinity", 9);
    char *text = PyOS_double_to_string(value, 'r', 0, 0, NULL);
    if (text == NULL)
        return -1;
    const char *e = strchr(text, 'e');
    int failed = e == NULL ? write_bytes(out, text, strlen(text)) : write_exponent_form(out, text, e);
    PyMem_Free(text);
    return failed;
}

/* Write an exact int within the safe range. */
static int
write_int(Buffer *out, PyObject *number)
{
    int overflow;
    long long value = PyLong_AsLongLongAndOverflow(number, &overflow);
    if (overflow || value > MAX_SAFE || value < -MAX_SAFE || reserve(out, 21) < 0)
        return -1;
    if (value < 0)
        *out->at++ = '-';
    out->at = put_digits(out->at, (uint64_t)(value < 0 ? -value : value));
    return 0;
}

static int write_json(Buffer *out, PyObject *value, int room);

static int
write_member(Buffer *out, PyObject *key, PyObject *item, int room)
{
    if (!PyUnicode_CheckExact(key) || write_string(out, key, "\"") < 0 || write_bytes(out, ":", 1) < 0)
        return -1;
    return write_json(out, item, room);
}

static int
write_object(Buffer *out, PyObject *dict, int room)
{
    PyObject *key, *item;
    Py_ssize_t position = 0;
    char before = '{';
    if (room == 0)
        return -1;
    while (PyDict_Next(dict, &position, &key, &item)) {
        if (write_bytes(out, &before, 1) < 0 || write_member(out, key, item, room - 1) < 0)
            return -1;
        before = ',';
    }
    return before == '{' ? write_bytes(out, "{}", 2) : write_bytes(out, "}", 1);
}

static int
write_array(Buffer *out, PyObject *items, int room)
{
    if (room == 0 || write_bytes(out, "[", 1) < 0)
        return -1;
    for (Py_ssize_t i = 0; i < PySequence_Fast_GET_SIZE(items); i++) {
        if (i && write_bytes(out, ",", 1) < 0)
            return -1;
        if (write_json(out, PySequence_Fast_GET_ITEM(items, i), room - 1) < 0)
            return -1;
    }
    return write_bytes(out, "]", 1);
}

/* Write the JSON text of a value in which `room` containers may be nested; -1 for what Python has to do. */
static int
write_json(Buffer *out, PyObject *value, int room)
{
    if (PyUnicode_CheckExact(value))
        return write_string(out, value, "\"s:");
    if (PyLong_CheckExact(value) || PyFloat_CheckExact(value)) {
        if (write_bytes(out, "\"n:", 3) < 0)
            return -1;
        if (PyLong_CheckExact(value) ? write_int(out, value) : write_float(out, PyFloat_AS_DOUBLE(value)))
            return -1;
        return write_bytes(out, "\"", 1);
    }
    if (value == Py_True)
        return write_bytes(out, "\"b:1\"", 5);
    if (value == Py_False)
        return write_bytes(out, "\"b:\"", 4);
    if (value == Py_None)
        return write_bytes(out, "\"l:\"", 4);
    if (value == undefined)
        return write_bytes(out, "\"u:\"", 4);
    if (PyDict_CheckExact(value))
        return write_object(out, value, room);
    if (PyList_CheckExact(value) || PyTuple_CheckExact(value))
        return write_array(out, value, room);
    return -1;
}

/* -- a message ---------------------------------------------------------------------------------------------------- */

/* Write a dict with its keys in JavaScript's order, by UTF-16 code units: up to Latin-1 that is the order of str. */
static int
write_sorted_object(Buffer *out, PyObject *dict, int room)
{
    PyObject *keys = PyDict_Keys(dict);
    int result = keys == NULL || room == 0 ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        if (!PyUnicode_CheckExact(key) || !is_ready(key) || PyUnicode_MAX_CHAR_VALUE(key) > 0xFF)
            result = -1;
    }
    if (result == 0)
        result = PyList_Sort(keys);
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i), *item = PyDict_GetItemWithError(dict, key);
        if (item == NULL || write_bytes(out, i ? "," : "{", 1) < 0)
            result = -1;
        else
            result = write_member(out, key, item, room - 1);
    }
    if (result == 0)
        result = PyList_GET_SIZE(keys) ? write_bytes(out, "}", 1) : write_bytes(out, "{}", 2);
    Py_XDECREF(keys);
    return result;
}

static int
write_field(Buffer *out, const char *payload, Py_ssize_t size, char mark)
{
    if (reserve(out, size + DIGITS + 13) < 0)
        return -1;
    out->at = put_digits(out->at, (uint64_t)size);
    *out->at++ = mark;
    *out->at++ = 0;
    memcpy(out->at, payload, size);
    out->at += size;
    *out->at++ = 0;
    return 0;
}

/* Write a j field: the JSON behind the longest head that it may have, which is then moved up to it. */
static int
write_json_field(Buffer *out, PyObject *value, int sort, int room)
{
    if (reserve(out, DIGITS + 2) < 0)
        return -1;
    Py_ssize_t head = out->at - out->start, json = head + DIGITS + 2;
    out->at += DIGITS + 2;
    int sorted = sort && PyDict_CheckExact(value) && PyDict_GET_SIZE(value) > 1;
    if (sorted ? write_sorted_object(out, value, room) : write_json(out, value, room))
        return -1;
    Py_ssize_t size = out->at - out->start - json;
    if ((uint64_t)size > 9999999999u) /* more than DIGITS */
        return -1;
    out->at = put_digits(out->start + head, (uint64_t)size);
    *out->at++ = 'j';
    *out->at++ = 0;
    memmove(out->at, out->start + json, size);
    out->at += size;
    return write_bytes(out, "", 1);
}

static int
write_value(Buffer *out, PyObject *value, int sort, int room)
{
    if (PyUnicode_CheckExact(value)) {
        PyObject *owner;
        Py_ssize_t size;
        const char *data = text_of(value, &size, &owner);
        int result = data == NULL ? -1 : write_field(out, data, size, 'f');
        Py_XDECREF(owner);
        return result;
    }
    if (PyBytes_CheckExact(value))
        return write_field(out, PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value), 't');
    return write_json_field(out, value, sort, room);
}

/* Return what was written, or say that Python has to do it. */
static PyObject *
finish(Buffer *out, int failed)
{
    if (!failed)
        return take_bytes(out);
    Py_CLEAR(out->bytes);
    return leave_to_python();
}

static int
write_id(Buffer *out, PyObject *id)
{
    char text[32] = "\"n:", *at = text + 3;
    int beyond = 0;
    long long value = PyLong_CheckExact(id) ? PyLong_AsLongLongAndOverflow(id, &beyond) : -1;
    if (value < 0 || beyond)
        return -1;
    at = put_digits(at, (uint64_t)value);
    *at++ = '"';
    return write_field(out, text, at - text, 'j');
}

/* Write what an event message has before its arguments. */
static int
write_head(Buffer *out, PyObject *event, PyObject *id, PyObject *reply_to)
{
    if (write_value(out, event, 0, 0) < 0 || write_id(out, id) < 0)
        return -1;
    return reply_to == Py_None ? write_value(out, Py_None, 0, 0) : write_id(out, reply_to);
}

static int
write_values(Buffer *out, PyObject *values, int sort, int room)
{
    int failed = 0;
    for (Py_ssize_t i = 0; !failed && i < PySequence_Fast_GET_SIZE(values); i++) {
        PyObject *value = Py_NewRef(PySequence_Fast_GET_ITEM(values, i));
        failed = write_value(out, value, sort, room);
        Py_DECREF(value);
    }
    return failed;
}

PyDoc_STRVAR(encode_doc,
             "encode(values, sort_props, max_depth)\n--\n\n"
             "As Codec.encode, or NotImplemented.");

static PyObject *
encode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "encode takes values, sort_props, max_depth");
        return NULL;
    }
    long room = PyLong_AsLong(args[2]);
    if (room == -1 && PyErr_Occurred())
        return NULL;
    if (!(PyList_CheckExact(args[0]) || PyTuple_CheckExact(args[0])))
        Py_RETURN_NOTIMPLEMENTED;
    Buffer out;
    buffer_init(&out);
    return finish(&out, write_values(&out, args[0], args[1] == Py_True, (int)room));
}

PyDoc_STRVAR(encode_event_doc,
             "encode_event(event, event_id, reply_to, args_bytes)\n--\n\n"
             "As Codec._encode_event, or NotImplemented.");

static PyObject *
encode_event(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "encode_event takes event, event_id, reply_to, args_bytes");
        return NULL;
    }
    if (!PyUnicode_CheckExact(args[0]) || !PyBytes_CheckExact(args[3]))
        Py_RETURN_NOTIMPLEMENTED;
    Buffer out;
    buffer_init(&out);
    int failed = write_head(&out, args[0], args[1], args[2])
                 || write_bytes(&out, PyBytes_AS_STRING(args[3]), PyBytes_GET_SIZE(args[3]));
    return finish(&out, failed);
}

int
may_be_sent(PyObject *name)
{
    if (!PyUnicode_CheckExact(name))
        return 0;
    if (!is_ready(name)) {
        PyErr_Clear();
        return 0;
    }
    if (!PyUnicode_IS_COMPACT_ASCII(name))
        return 0;
    const char *text = (const char *)PyUnicode_1BYTE_DATA(name); /* it ends with a zero */
    return strncmp(text, RESERVED, strlen(RESERVED)) != 0 && strncmp(text, LOCAL, strlen(LOCAL)) != 0;
}

PyDoc_STRVAR(encode_at_once_doc,
             "encode_at_once(sort_props, max_depth, event, event_id, reply_to, args)\n--\n\n"
             "Make an event message, its name checked; NotImplemented for what is not usual.");

static PyObject *
encode_at_once(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "encode_at_once takes sort_props, max_depth, event, event_id, reply_to, args");
        return NULL;
    }
    long room = PyLong_AsLong(args[1]);
    if (room == -1 && PyErr_Occurred())
        return NULL;
    if (!may_be_sent(args[2]) || !(PyList_CheckExact(args[5]) || PyTuple_CheckExact(args[5])))
        Py_RETURN_NOTIMPLEMENTED;
    Buffer out;
    buffer_init(&out);
    int failed = write_head(&out, args[2], args[3], args[4])
                 || write_values(&out, args[5], args[0] == Py_True, (int)room);
    return finish(&out, failed);
}

PyMethodDef encoding_functions[] = {
    FUNCTION("encode", encode, encode_doc),
    FUNCTION("encode_event", encode_event, encode_event_doc),
    FUNCTION("encode_at_once", encode_at_once, encode_at_once_doc),
    END_OF_FUNCTIONS,
};
