/* What costs most for each message, in C: values and their bytes, frames, masks, and a send and a receive that keep the
   interpreter's lock.

   There is nothing here that is not in Python, too (codec.py, protocol.py, transport/frames.py, transport/masking.py),
   and that Python is what counts: what encodes and decodes does the usual cases only. For everything else, whatever is refused
   and whatever needs the user's code, it returns NotImplemented, and Python begins anew. So there is one place that
   says why something is refused, and C that is wrong about a case may at most take a message for a usual one.

   All of it but receive_soon runs while holding the interpreter's lock, and runs no Python code in the middle of a container that another
   thread may change. On a free-threaded CPython there is no such lock: setup.py builds nothing there. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#ifdef __linux__
#include <sched.h>
#endif
#ifndef _WIN32
#include <sys/socket.h>
#include <sys/types.h>
#endif

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *
Py_NewRef(PyObject *object)
{
    Py_INCREF(object);
    return object;
}
#endif

#if PY_VERSION_HEX >= 0x030C0000 /* every str is ready, and the macro is deprecated */
#undef PyUnicode_READY
#define PyUnicode_READY(text) 0
#endif

#define MAX_SAFE 9007199254740991LL /* JavaScript's Number.MAX_SAFE_INTEGER */
#define DIGITS 10                   /* of a field's length */
#define RESERVED "ezez-ws::"        /* protocol.py's: how the names begin that are not sent */
#define LOCAL "ezez-ws:incoming:"

/* scalars.py's; they live as long as the process */
static PyObject *undefined, *parse_number, *parse_bigint;
static PyObject *bad; /* refusals.py's: what the two raise */

/* Leave it to Python, unless the error is none of ours: a signal's handler may have run in parse_number. */
static PyObject *
leave_to_python(void)
{
    if (PyErr_Occurred() && !PyErr_ExceptionMatches(bad) && !PyErr_ExceptionMatches(PyExc_UnicodeError)
        && !PyErr_ExceptionMatches(PyExc_MemoryError) && !PyErr_ExceptionMatches(PyExc_RecursionError))
        return NULL;
    PyErr_Clear();
    Py_RETURN_NOTIMPLEMENTED;
}

/* -- encoding: a buffer that grows ---------------------------------------------------------------------------------- */

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

/* -- encoding: one value -------------------------------------------------------------------------------------------- */

/* The UTF-8 of an exact str. *owner is what to give back, NULL for nothing. NULL for a lone surrogate. */
static const char *
text_of(PyObject *text, Py_ssize_t *size, PyObject **owner)
{
    *owner = NULL;
    if (PyUnicode_READY(text) < 0)
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

/* -- encoding: a message -------------------------------------------------------------------------------------------- */

/* Write a dict with its keys in JavaScript's order, by UTF-16 code units: up to Latin-1 that is the order of str. */
static int
write_sorted_object(Buffer *out, PyObject *dict, int room)
{
    PyObject *keys = PyDict_Keys(dict);
    int result = keys == NULL || room == 0 ? -1 : 0;
    for (Py_ssize_t i = 0; result == 0 && i < PyList_GET_SIZE(keys); i++) {
        PyObject *key = PyList_GET_ITEM(keys, i);
        if (!PyUnicode_CheckExact(key) || PyUnicode_READY(key) < 0 || PyUnicode_MAX_CHAR_VALUE(key) > 0xFF)
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

PyDoc_STRVAR(encode_doc, "encode(values, sort_props, max_depth)\n--\n\nAs Codec.encode, or NotImplemented.");

static PyObject *
encode(PyObject *self, PyObject *const *args, Py_ssize_t count)
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

PyDoc_STRVAR(encode_event_doc, "encode_event(event, event_id, reply_to, args_bytes)\n--\n\nAs Codec.encode_event, or NotImplemented.");

static PyObject *
encode_event(PyObject *self, PyObject *const *args, Py_ssize_t count)
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

/* Whether protocol.check_event_name would let an ASCII name pass. */
static int
may_be_sent(PyObject *name)
{
    if (!PyUnicode_CheckExact(name))
        return 0;
    if (PyUnicode_READY(name) < 0) {
        PyErr_Clear();
        return 0;
    }
    if (!PyUnicode_IS_COMPACT_ASCII(name))
        return 0;
    const char *text = (const char *)PyUnicode_1BYTE_DATA(name); /* it ends with a zero */
    return strncmp(text, RESERVED, strlen(RESERVED)) != 0 && strncmp(text, LOCAL, strlen(LOCAL)) != 0;
}

PyDoc_STRVAR(encode_at_once_doc, "encode_at_once(sort_props, max_depth, event, event_id, reply_to, args)\n--\n\nAn event message, its name checked; NotImplemented for what is not usual.");

static PyObject *
encode_at_once(PyObject *self, PyObject *const *args, Py_ssize_t count)
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

/* -- decoding: JSON with tagged scalars ------------------------------------------------------------------------------ */

#define KEYS 32
#define MEMO_FROM 4096 /* bytes of a text; below, what its keys take is of no account */
#define MEMO_MOST 1000

typedef struct {
    const char *at, *end;
    int keyed;            /* whether there are keys */
    PyObject *keys[KEYS]; /* those seen last, by a few of their bytes: found without making a str */
    PyObject *memo;       /* up to MEMO_MOST of a large text, so that one that comes again takes no memory again */
} Scanner;

static void
skip_blanks(Scanner *in)
{
    while (in->at < in->end && (*in->at == ' ' || *in->at == '\n' || *in->at == '\t' || *in->at == '\r'))
        in->at++;
}

/* Take a character that must come, after blanks. */
static int
take(Scanner *in, char wanted)
{
    skip_blanks(in);
    if (in->at == in->end || *in->at != wanted)
        return 0;
    in->at++;
    return 1;
}

static int
hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Write the character of \uXXXX, whose digits are at `digits`, as UTF-8; NULL for a surrogate, and for what is none. */
static char *
put_escaped(char *at, const char *digits)
{
    int code = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(digits[i]);
        if (digit < 0)
            return NULL;
        code = code << 4 | digit;
    }
    if (code >= 0xD800 && code < 0xE000)
        return NULL;
    if (code < 0x80)
        *at++ = (char)code;
    else {
        if (code < 0x800)
            *at++ = (char)(0xC0 | code >> 6);
        else {
            *at++ = (char)(0xE0 | code >> 12);
            *at++ = (char)(0x80 | (code >> 6 & 0x3F));
        }
        *at++ = (char)(0x80 | (code & 0x3F));
    }
    return at;
}

/* Undo the escapes of the text up to `end`, into `to`, which has as much room. Return the end there, or NULL. */
static char *
unescape(char *to, const char *from, const char *end)
{
    while (from < end) {
        char c = *from++;
        if ((unsigned char)c < ' ')
            return NULL;
        if (c == '\\') {
            c = *from++; /* there is one: the quote at `end` is no escaped one */
            switch (c) {
            case '"': case '\\': case '/': break;
            case 'b': c = '\b'; break;
            case 'f': c = '\f'; break;
            case 'n': c = '\n'; break;
            case 'r': c = '\r'; break;
            case 't': c = '\t'; break;
            case 'u':
                if (end - from < 4 || (to = put_escaped(to, from)) == NULL)
                    return NULL;
                from += 4;
                continue;
            default: return NULL;
            }
        }
        *to++ = c;
    }
    return to;
}

/* The bytes of a string whose opening quote has been taken, and what they lie in, if that is to be freed. */
typedef struct {
    const char *text;
    Py_ssize_t size;
    char *freed;
} Text;

static int
scan_text(Scanner *in, Text *found)
{
    const char *start = in->at, *at = start;
    found->freed = NULL;
    while (at < in->end && *at != '"' && *at != '\\' && (unsigned char)*at >= ' ')
        at++;
    if (at < in->end && *at == '\\') {
        while (at < in->end && *at != '"')
            at += *at == '\\' ? 2 : 1;
        if (at >= in->end || (found->freed = PyMem_Malloc(at - start)) == NULL)
            return -1;
        char *end = unescape(found->freed, start, at);
        if (end == NULL) {
            PyMem_Free(found->freed);
            return -1;
        }
        found->text = found->freed;
        found->size = end - found->freed;
    }
    else {
        if (at == in->end || *at != '"')
            return -1;
        found->text = start;
        found->size = at - start;
    }
    in->at = at + 1;
    return 0;
}

/* A decimal fraction or an exponent form, by the grammar -?digits(.digits)?(e[+-]?digits)?, within 63 characters. */
static PyObject *
decimal_number(const char *text, Py_ssize_t size)
{
    char copy[64];
    const char *at = text, *end = text + size, *digits;
    at += *at == '-';
    for (digits = at; at < end && Py_ISDIGIT(*at); at++)
        ;
    int valid = at > digits;
    if (at < end && *at == '.') {
        for (digits = ++at; at < end && Py_ISDIGIT(*at); at++)
            ;
        valid = valid && at > digits;
    }
    if (at < end && *at == 'e') {
        at++;
        at += at < end && (*at == '+' || *at == '-');
        for (digits = at; at < end && Py_ISDIGIT(*at); at++)
            ;
        valid = valid && at > digits;
    }
    if (!valid || at < end || size >= (Py_ssize_t)sizeof copy)
        return NULL;
    memcpy(copy, text, size);
    copy[size] = 0;
    double value = PyOS_string_to_double(copy, NULL, NULL);
    return value == -1.0 && PyErr_Occurred() ? NULL : PyFloat_FromDouble(value);
}

static PyObject *
tagged_number(const char *text, Py_ssize_t size)
{
    int negative = size > 0 && *text == '-';
    Py_ssize_t i = negative;
    long long value = 0;
    while (i < size && i < 16 && Py_ISDIGIT(text[i]))
        value = value * 10 + (text[i++] - '0');
    if (i > negative && i == size && i < 16)
        return PyLong_FromLongLong(negative ? -value : value);
    if (i > negative && i < size && !Py_ISDIGIT(text[i])) {
        PyObject *number = decimal_number(text, size);
        if (number != NULL || PyErr_Occurred())
            return number;
    }
    return PyObject_CallFunction(parse_number, "s#", text, size);
}

/* The value of a string with a tag; NULL for what Python has to do. */
static PyObject *
untag(const char *text, Py_ssize_t size)
{
    if (size < 2 || text[1] != ':')
        return NULL;
    const char *rest = text + 2;
    Py_ssize_t length = size - 2;
    switch (text[0]) {
    case 's':
        return PyUnicode_DecodeUTF8(rest, length, NULL);
    case 'n':
        return tagged_number(rest, length);
    case 'i':
        return PyObject_CallFunction(parse_bigint, "s#", rest, length);
    case 'b':
        return length == 0 ? Py_NewRef(Py_False) : length == 1 && *rest == '1' ? Py_NewRef(Py_True) : NULL;
    case 'l':
        return length ? NULL : Py_NewRef(Py_None);
    case 'u':
        return length ? NULL : Py_NewRef(undefined);
    default:
        return NULL;
    }
}

/* Return the key that is in the memo, or put this one there; the reference to it is taken. */
static PyObject *
remembered(Scanner *in, PyObject *key)
{
    if (PyDict_GET_SIZE(in->memo) >= MEMO_MOST)
        PyDict_Clear(in->memo);
    PyObject *known = PyDict_SetDefault(in->memo, key, key);
    Py_XINCREF(known);
    Py_DECREF(key);
    return known;
}

static PyObject *
scan_key(Scanner *in)
{
    Text found;
    if (!take(in, '"') || scan_text(in, &found) < 0)
        return NULL;
    PyObject **kept = NULL, *key = NULL;
    if (!in->keyed) {
        memset(in->keys, 0, sizeof in->keys);
        in->keyed = 1;
    }
    if (found.size && found.size < 64) {
        const unsigned char *text = (const unsigned char *)found.text;
        kept = &in->keys[(text[0] + text[found.size - 1] * 7 + found.size) % KEYS];
        if (*kept != NULL && PyUnicode_GET_LENGTH(*kept) == found.size
            && memcmp(PyUnicode_1BYTE_DATA(*kept), text, found.size) == 0)
            key = Py_NewRef(*kept);
    }
    if (key == NULL) {
        key = PyUnicode_DecodeUTF8(found.text, found.size, NULL);
        if (key != NULL && in->memo != NULL)
            key = remembered(in, key);
        if (key != NULL && kept != NULL && PyUnicode_IS_COMPACT_ASCII(key)) {
            PyObject *forgotten = *kept;
            *kept = Py_NewRef(key);
            Py_XDECREF(forgotten);
        }
    }
    PyMem_Free(found.freed);
    return key;
}

static PyObject *scan_value(Scanner *in, int room);

static int
scan_members(Scanner *in, PyObject *dict, int room)
{
    if (take(in, '}'))
        return 0;
    do {
        PyObject *key = scan_key(in);
        PyObject *item = key != NULL && take(in, ':') ? scan_value(in, room) : NULL;
        int failed = item == NULL || PyDict_SetItem(dict, key, item) < 0;
        Py_XDECREF(key);
        Py_XDECREF(item);
        if (failed)
            return -1;
    } while (take(in, ','));
    return take(in, '}') ? 0 : -1;
}

static int
scan_items(Scanner *in, PyObject *list, int room)
{
    if (take(in, ']'))
        return 0;
    do {
        PyObject *item = scan_value(in, room);
        int failed = item == NULL || PyList_Append(list, item) < 0;
        Py_XDECREF(item);
        if (failed)
            return -1;
    } while (take(in, ','));
    return take(in, ']') ? 0 : -1;
}

/* Return the next value, in which `room` containers may be nested; NULL for what Python has to do. */
static PyObject *
scan_value(Scanner *in, int room)
{
    skip_blanks(in);
    if (in->at == in->end)
        return NULL;
    char first = *in->at++;
    if (first == '"') {
        Text found;
        if (scan_text(in, &found) < 0)
            return NULL;
        PyObject *value = untag(found.text, found.size);
        PyMem_Free(found.freed);
        return value;
    }
    if ((first != '{' && first != '[') || room == 0)
        return NULL;
    PyObject *container = first == '{' ? PyDict_New() : PyList_New(0);
    if (container == NULL)
        return NULL;
    if ((first == '{' ? scan_members : scan_items)(in, container, room - 1) < 0)
        Py_CLEAR(container);
    return container;
}

static PyObject *
scan_all(const char *data, Py_ssize_t size, int room)
{
    Scanner in;
    in.at = data;
    in.end = data + size;
    in.keyed = 0;
    in.memo = size < MEMO_FROM ? NULL : PyDict_New();
    if (size >= MEMO_FROM && in.memo == NULL)
        return NULL;
    PyObject *value = scan_value(&in, room);
    skip_blanks(&in);
    if (value != NULL && in.at != in.end)
        Py_CLEAR(value);
    for (int i = 0; in.keyed && i < KEYS; i++)
        Py_XDECREF(in.keys[i]);
    Py_XDECREF(in.memo);
    return value;
}

PyDoc_STRVAR(scan_json_doc, "scan_json(payload, max_depth)\n--\n\nReturn the value of a j field, or NotImplemented.");

static PyObject *
scan_json(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 2 || !PyBytes_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "scan_json takes payload: bytes, max_depth");
        return NULL;
    }
    long room = PyLong_AsLong(args[1]);
    if (room == -1 && PyErr_Occurred())
        return NULL;
    PyObject *value = scan_all(PyBytes_AS_STRING(args[0]), PyBytes_GET_SIZE(args[0]), (int)room);
    if (value != NULL)
        return value;
    return leave_to_python();
}

/* -- decoding: a message --------------------------------------------------------------------------------------------- */

/* Return the value of a field's payload; NULL for what Python has to do. */
static PyObject *
field_value(char mark, const char *payload, Py_ssize_t size, int metered, int room)
{
    switch (mark) {
    case 'f':
        return PyUnicode_DecodeUTF8(payload, size, NULL);
    case 't':
        return PyBytes_FromStringAndSize(payload, size);
    case 'j':
        /* what containers take in a large message is for Python to weigh first */
        return metered && (size == 0 || *payload != '"') ? NULL : scan_all(payload, size, room);
    default:
        return NULL;
    }
}

/* Append the value of the field at `at`, and return where the next one begins; NULL for what Python has to do. */
static const char *
take_field(PyObject *values, const char *at, const char *end, int metered, int room)
{
    const char *start = at;
    uint64_t size = 0;
    for (; at < end && Py_ISDIGIT(*at) && at - start < DIGITS; at++)
        size = size * 10 + (uint64_t)(*at - '0');
    if (at == start || end - at < 2 || at[1])
        return NULL;
    char mark = *at;
    at += 2;
    if (size > (uint64_t)(end - at) || (size < (uint64_t)(end - at) && at[size]))
        return NULL;
    PyObject *value = field_value(mark, at, (Py_ssize_t)size, metered, room);
    if (value == NULL)
        return NULL;
    int failed = PyList_Append(values, value);
    Py_DECREF(value);
    at += size;
    return failed ? NULL : at + (at < end); /* a last field without its closing 0x00 is fine */
}

PyDoc_STRVAR(decode_doc, "decode(data, max_depth, unmetered)\n--\n\nAs Codec.decode, or NotImplemented.");

static PyObject *
decode(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 3) {
        PyErr_SetString(PyExc_TypeError, "decode takes data, max_depth, unmetered");
        return NULL;
    }
    long room = PyLong_AsLong(args[1]);
    Py_ssize_t unmetered = PyLong_AsSsize_t(args[2]);
    if (PyErr_Occurred())
        return NULL;
    if (!PyBytes_CheckExact(args[0]) || PyBytes_GET_SIZE(args[0]) == 0)
        Py_RETURN_NOTIMPLEMENTED;
    const char *at = PyBytes_AS_STRING(args[0]), *end = at + PyBytes_GET_SIZE(args[0]);
    PyObject *values = PyList_New(0);
    if (values == NULL)
        return NULL;
    while (at != NULL && at < end)
        at = take_field(values, at, end, PyBytes_GET_SIZE(args[0]) > unmetered, (int)room);
    if (at != NULL)
        return values;
    Py_DECREF(values);
    return leave_to_python();
}

/* -- events ---------------------------------------------------------------------------------------------------------- */

static int
is_tuple_type(PyObject *object)
{
    return PyType_Check(object) && PyType_IsSubtype((PyTypeObject *)object, &PyTuple_Type);
}

/* To be called for a tuple that tp_alloc has made. */
static void
forget_hash(PyObject *tuple)
{
#if PY_VERSION_HEX >= 0x030E0000
    ((PyTupleObject *)tuple)->ob_hash = -1; /* not known yet */
#endif
}

static int
is_event_name(PyObject *name)
{
    if (!PyUnicode_CheckExact(name))
        return 0;
    Py_ssize_t same = 0, size = PyUnicode_GET_LENGTH(name);
    while (RESERVED[same] && same < size && PyUnicode_READ_CHAR(name, same) == (Py_UCS4)RESERVED[same])
        same++;
    return RESERVED[same] != 0;
}

/* Whether it is an int > 0. */
static int
is_id(PyObject *id)
{
    int beyond;
    return PyLong_CheckExact(id) && PyLong_AsLongLongAndOverflow(id, &beyond) > 0;
}

/* Take the name and the ids off a list of values, and return the Event. NULL without an error where protocol.parse_event
   would refuse it, or where it is unusual; then the values are as they were. */
static PyObject *
make_event(PyObject *values, PyTypeObject *event_type, PyTypeObject *ids_type)
{
    if (PyList_GET_SIZE(values) < 3)
        return NULL;
    PyObject *name = PyList_GET_ITEM(values, 0), *id = PyList_GET_ITEM(values, 1), *reply_to = PyList_GET_ITEM(values, 2);
    if (!is_event_name(name) || !is_id(id) || !(reply_to == Py_None || is_id(reply_to)))
        return NULL;
    PyObject *ids = ids_type->tp_alloc(ids_type, 2), *event = ids == NULL ? NULL : event_type->tp_alloc(event_type, 3);
    if (event == NULL) {
        Py_XDECREF(ids);
        return NULL;
    }
    PyTuple_SET_ITEM(ids, 0, Py_NewRef(id));
    PyTuple_SET_ITEM(ids, 1, Py_NewRef(reply_to));
    PyTuple_SET_ITEM(event, 0, Py_NewRef(name));
    PyTuple_SET_ITEM(event, 1, ids);
    PyTuple_SET_ITEM(event, 2, Py_NewRef(values));
    forget_hash(ids);
    forget_hash(event);
    if (PyList_SetSlice(values, 0, 3, NULL) < 0)
        Py_CLEAR(event);
    return event;
}

PyDoc_STRVAR(decode_event_doc, "decode_event(data, max_depth, unmetered, event_type, ids_type)\n--\n\nAs Codec.decode_event, or NotImplemented.");

static PyObject *
decode_event(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 5 || !is_tuple_type(args[3]) || !is_tuple_type(args[4])) {
        PyErr_SetString(PyExc_TypeError, "decode_event takes data, max_depth, unmetered, event_type, ids_type");
        return NULL;
    }
    PyObject *values = decode(self, args, 3);
    if (values == NULL || values == Py_NotImplemented)
        return values;
    PyObject *event = make_event(values, (PyTypeObject *)args[3], (PyTypeObject *)args[4]);
    if (event == NULL && !PyErr_Occurred())
        return values;
    Py_DECREF(values);
    return event;
}

/* -- frames (RFC 6455, section 5) ------------------------------------------------------------------------------------ */

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

PyDoc_STRVAR(apply_mask_doc, "apply_mask(payload, mask, offset=0)\n--\n\nAs transport.masking.apply_mask.");

static PyObject *
apply_mask(PyObject *self, PyObject *const *args, Py_ssize_t count)
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

PyDoc_STRVAR(assemble_doc, "assemble(first, payload, mask)\n--\n\nAs transport.frames._assemble.");

static PyObject *
assemble(PyObject *self, PyObject *const *args, Py_ssize_t count)
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
make_message(PyTypeObject *type, PyObject *payload)
{
    PyObject *opcode = payload == NULL ? NULL : PyLong_FromLong(FIN_BINARY & 15);
    PyObject *message = opcode == NULL ? NULL : type->tp_alloc(type, 2);
    if (message == NULL) {
        Py_XDECREF(opcode);
        Py_XDECREF(payload);
        return NULL;
    }
    PyTuple_SET_ITEM(message, 0, opcode);
    PyTuple_SET_ITEM(message, 1, payload);
    forget_hash(message);
    return message;
}

PyDoc_STRVAR(take_frames_doc, "take_frames(data, masked, max_payload, message_type, messages)\n--\n\nAs transport.frames._take_frames.");

static PyObject *
take_frames(PyObject *self, PyObject *const *args, Py_ssize_t count)
{
    if (count != 5 || !PyBytes_CheckExact(args[0]) || !is_tuple_type(args[3]) || !PyList_CheckExact(args[4])) {
        PyErr_SetString(PyExc_TypeError, "take_frames takes data: bytes, masked, max_payload, message_type, messages: list");
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
        PyObject *message = make_message((PyTypeObject *)args[3], payload);
        int failed = message == NULL || PyList_Append(args[4], message) < 0;
        Py_XDECREF(message);
        if (failed)
            return NULL;
        at = start + size;
    }
    return PyLong_FromSsize_t(at - data);
}

/* -- sockets --------------------------------------------------------------------------------------------------------- */

#ifdef MSG_DONTWAIT
PyDoc_STRVAR(send_doc, "send(fd, data, size, flags)\n--\n\nAs send(2), without letting go of the interpreter's lock; -1 for an error.");

static PyObject *
quick_send(PyObject *self, PyObject *const *args, Py_ssize_t count)
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
    return PyLong_FromSsize_t(send((int)fd, PyBytes_AS_STRING(args[1]), size, (int)flags));
}

#define MOST 4096

PyDoc_STRVAR(receive_doc, "receive(fd, size, peek=False)\n--\n\nReceive at most 4096 bytes, or only look at them, without blocking and without letting go of the interpreter's lock. None: nothing yet; b\"\": the end, or an error.");

static PyObject *
quick_receive(PyObject *self, PyObject *const *args, Py_ssize_t count)
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
PyDoc_STRVAR(receive_soon_doc, "receive_soon(fd, size, microseconds)\n--\n\nReceive as receive does, but of any size, and asking again and again for so long, without the interpreter's lock.");

static PyObject *
receive_soon(PyObject *self, PyObject *const *args, Py_ssize_t count)
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
#endif
#endif

/* -- the module ------------------------------------------------------------------------------------------------------ */

#define FUNCTION(name, function, doc) {name, (PyCFunction)(void (*)(void))function, METH_FASTCALL, doc}

static PyMethodDef functions[] = {
    FUNCTION("encode", encode, encode_doc),
    FUNCTION("encode_event", encode_event, encode_event_doc),
    FUNCTION("encode_at_once", encode_at_once, encode_at_once_doc),
    FUNCTION("decode", decode, decode_doc),
    FUNCTION("decode_event", decode_event, decode_event_doc),
    FUNCTION("scan_json", scan_json, scan_json_doc),
    FUNCTION("apply_mask", apply_mask, apply_mask_doc),
    FUNCTION("assemble", assemble, assemble_doc),
    FUNCTION("take_frames", take_frames, take_frames_doc),
#ifdef MSG_DONTWAIT
    FUNCTION("send", quick_send, send_doc),
    FUNCTION("receive", quick_receive, receive_doc),
#ifdef __linux__
    FUNCTION("receive_soon", receive_soon, receive_soon_doc),
#endif
#endif
    {NULL, NULL, 0, NULL},
};

static int
execute(PyObject *module)
{
    PyObject *scalars = PyImport_ImportModule("ezez_ws.messages.scalars");
    PyObject *refusals = scalars == NULL ? NULL : PyImport_ImportModule("ezez_ws.messages.refusals");
    PyObject *found = refusals == NULL ? NULL : PyObject_GetAttrString(scalars, "UNDEFINED");
    int failed = found == NULL;
    if (!failed && undefined != NULL && found != undefined) {
        /* a subinterpreter, or a second copy of the package: what the statics point to is not its own */
        PyErr_SetString(PyExc_ImportError, "ezez_ws._speedups serves one copy of ezez_ws in a process");
        failed = 1;
    }
    if (!failed && undefined == NULL) {
        Py_XSETREF(parse_number, PyObject_GetAttrString(scalars, "number"));
        Py_XSETREF(parse_bigint, parse_number == NULL ? NULL : PyObject_GetAttrString(scalars, "bigint"));
        Py_XSETREF(bad, parse_bigint == NULL ? NULL : PyObject_GetAttrString(refusals, "Bad"));
        failed = bad == NULL;
        undefined = failed ? NULL : Py_NewRef(found);
    }
    Py_XDECREF(found);
    Py_XDECREF(refusals);
    Py_XDECREF(scalars);
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, execute},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "ezez_ws._speedups", "The costly parts of each message, in C.", 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__speedups(void)
{
    return PyModuleDef_Init(&definition);
}
