/* Bytes to values and events, as Codec.decode, Codec._decode_event and peek_reply_to do it; and to publications.

   A message is cut into its fields; the JSON of a j field is scanned and its tagged strings are made values in one
   pass. The containers of a large message are left to Python, which weighs them first (weighing.py). */

#include "speedups.h"

/* -- JSON with tagged scalars ------------------------------------------------------------------------------------- */

#define KEYS 32
#define MEMO_FROM 4096 /* bytes of a text; below, what its keys take is of no account */
#define MEMO_MOST 1000

/* What the codec allows. */
typedef struct {
    int depth, metered;
    Py_ssize_t bigint_digits;
} Limits;

typedef struct {
    const char *at, *end;
    Py_ssize_t bigint_digits;
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
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
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
untag(const Scanner *in, const char *text, Py_ssize_t size)
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
        return PyObject_CallFunction(parse_bigint, "s#n", rest, length, in->bigint_digits);
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
        PyObject *value = untag(in, found.text, found.size);
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
scan_all(const char *data, Py_ssize_t size, const Limits *limits)
{
    Scanner in;
    in.at = data;
    in.end = data + size;
    in.bigint_digits = limits->bigint_digits;
    in.keyed = 0;
    in.memo = size < MEMO_FROM ? NULL : PyDict_New();
    if (size >= MEMO_FROM && in.memo == NULL)
        return NULL;
    PyObject *value = scan_value(&in, limits->depth);
    skip_blanks(&in);
    if (value != NULL && in.at != in.end)
        Py_CLEAR(value);
    for (int i = 0; in.keyed && i < KEYS; i++)
        Py_XDECREF(in.keys[i]);
    Py_XDECREF(in.memo);
    return value;
}

PyDoc_STRVAR(scan_json_doc,
             "scan_json(payload, max_depth, max_bigint_digits)\n--\n\n"
             "Return the value of a j field, or NotImplemented.");

static PyObject *
scan_json(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 3 || !PyBytes_CheckExact(args[0])) {
        PyErr_SetString(PyExc_TypeError, "scan_json takes payload: bytes, max_depth, max_bigint_digits");
        return NULL;
    }
    Limits limits = {.depth = (int)PyLong_AsLong(args[1]), .bigint_digits = PyLong_AsSsize_t(args[2])};
    if (PyErr_Occurred())
        return NULL;
    PyObject *value = scan_all(PyBytes_AS_STRING(args[0]), PyBytes_GET_SIZE(args[0]), &limits);
    if (value != NULL)
        return value;
    return leave_to_python();
}

/* -- a message ---------------------------------------------------------------------------------------------------- */

typedef struct {
    const char *payload;
    Py_ssize_t size;
    char mark; /* any byte */
} Field;

/* Cut the field at `at`, as fields.cut does, and return where the next one begins; NULL where there is none. */
static inline const char *
cut_field(Field *field, const char *at, const char *end)
{
    const char *start = at;
    uint64_t size = 0;
    for (; at < end && Py_ISDIGIT(*at) && at - start < DIGITS; at++)
        size = size * 10 + (uint64_t)(*at - '0');
    if (at == start || end - at < 2 || at[1])
        return NULL;
    field->mark = *at;
    at += 2;
    if (size > (uint64_t)(end - at) || (size < (uint64_t)(end - at) && at[size]))
        return NULL;
    field->payload = at;
    field->size = (Py_ssize_t)size;
    at += size;
    return at + (at < end); /* a last field without its closing 0x00 is fine */
}

/* Return the value of a field; NULL for what Python has to do. */
static PyObject *
field_value(const Field *field, const Limits *limits)
{
    switch (field->mark) {
    case 'f':
        return PyUnicode_DecodeUTF8(field->payload, field->size, NULL);
    case 't':
        return PyBytes_FromStringAndSize(field->payload, field->size);
    case 'j':
        /* what containers take in a large message is for Python to weigh first */
        if (limits->metered && (field->size == 0 || *field->payload != '"'))
            return NULL;
        return scan_all(field->payload, field->size, limits);
    default:
        return NULL;
    }
}

/* Append the value of the field at `at`, and return where the next one begins; NULL for what Python has to do. */
static const char *
take_field(PyObject *values, const char *at, const char *end, const Limits *limits)
{
    Field field;
    at = cut_field(&field, at, end);
    PyObject *value = at == NULL ? NULL : field_value(&field, limits);
    if (value == NULL)
        return NULL;
    int failed = PyList_Append(values, value);
    Py_DECREF(value);
    return failed ? NULL : at;
}

PyDoc_STRVAR(decode_doc,
             "decode(data, max_depth, max_bigint_digits, unmetered)\n--\n\n"
             "As Codec.decode, or NotImplemented.");

/* The values of a message. The first four arguments are those of both functions that decode one. */
static PyObject *
decode_values(PyObject *const *args)
{
    Limits limits = {.depth = (int)PyLong_AsLong(args[1]), .bigint_digits = PyLong_AsSsize_t(args[2])};
    Py_ssize_t unmetered = PyLong_AsSsize_t(args[3]);
    if (PyErr_Occurred())
        return NULL;
    if (!PyBytes_CheckExact(args[0]) || PyBytes_GET_SIZE(args[0]) == 0)
        Py_RETURN_NOTIMPLEMENTED;
    const char *at = PyBytes_AS_STRING(args[0]), *end = at + PyBytes_GET_SIZE(args[0]);
    limits.metered = PyBytes_GET_SIZE(args[0]) > unmetered;
    PyObject *values = PyList_New(0);
    if (values == NULL)
        return NULL;
    while (at != NULL && at < end)
        at = take_field(values, at, end, &limits);
    if (at != NULL)
        return values;
    Py_DECREF(values);
    return leave_to_python();
}

static PyObject *
decode(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 4) {
        PyErr_SetString(PyExc_TypeError, "decode takes data, max_depth, max_bigint_digits, unmetered");
        return NULL;
    }
    return decode_values(args);
}

/* -- events ------------------------------------------------------------------------------------------------------- */

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

/* Take the name and the ids off a list of values, and return the Event. NULL without an error where
   protocol.parse_event would refuse it, or where it is unusual; then the values are as they were. */
static PyObject *
make_event(PyObject *values, PyObject *event_type, PyObject *ids_type)
{
    if (PyList_GET_SIZE(values) < 3)
        return NULL;
    PyObject *name = PyList_GET_ITEM(values, 0), *id = PyList_GET_ITEM(values, 1);
    PyObject *reply_to = PyList_GET_ITEM(values, 2);
    if (!is_event_name(name) || !is_id(id) || !(reply_to == Py_None || is_id(reply_to)))
        return NULL;
    PyObject *ids = new_tuple(ids_type, 2), *event = ids == NULL ? NULL : new_tuple(event_type, 3);
    if (event == NULL) {
        Py_XDECREF(ids);
        return NULL;
    }
    PyTuple_SET_ITEM(ids, 0, Py_NewRef(id));
    PyTuple_SET_ITEM(ids, 1, Py_NewRef(reply_to));
    PyTuple_SET_ITEM(event, 0, Py_NewRef(name));
    PyTuple_SET_ITEM(event, 1, ids);
    PyTuple_SET_ITEM(event, 2, Py_NewRef(values));
    if (PyList_SetSlice(values, 0, 3, NULL) < 0)
        Py_CLEAR(event);
    return event;
}

PyDoc_STRVAR(decode_event_doc,
             "decode_event(max_depth, max_bigint_digits, unmetered, event_type, ids_type, data)\n--\n\n"
             "As Codec._decode_event, or NotImplemented. The data come last, so that all else can be bound.");

static PyObject *
decode_event(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 6 || !is_tuple_type(args[3]) || !is_tuple_type(args[4])) {
        PyErr_SetString(PyExc_TypeError,
                        "decode_event takes max_depth, max_bigint_digits, unmetered, event_type, ids_type, data");
        return NULL;
    }
    PyObject *const of_message[] = {args[5], args[0], args[1], args[2]};
    PyObject *values = decode_values(of_message);
    if (values == NULL || values == Py_NotImplemented)
        return values;
    PyObject *event = make_event(values, args[3], args[4]);
    if (event == NULL && !PyErr_Occurred())
        return values;
    Py_DECREF(values);
    return event;
}

/* -- the reply-to of a message that is not decoded ----------------------------------------------------------------- */

#define PEEKED 64 /* bytes: codec.peek_reply_to takes a longer third field for none */

/* The number of a payload `"n:<1 to 15 digits>"`; -1 for any other. */
static long long
plain_number(const char *payload, Py_ssize_t size)
{
    if (size < 5 || size > 19 || memcmp(payload, "\"n:", 3) != 0 || payload[size - 1] != '"')
        return -1;
    long long value = 0;
    for (Py_ssize_t i = 3; i < size - 1; i++) {
        if (!Py_ISDIGIT(payload[i]))
            return -1;
        value = value * 10 + (payload[i] - '0');
    }
    return value;
}

PyDoc_STRVAR(peek_reply_to_doc,
             "peek_reply_to(data)\n--\n\n"
             "As codec.peek_reply_to, or NotImplemented.");

static PyObject *
peek_reply_to(PyObject *Py_UNUSED(module), PyObject *data)
{
    if (!PyBytes_CheckExact(data))
        Py_RETURN_NOTIMPLEMENTED;
    const char *at = PyBytes_AS_STRING(data), *end = at + PyBytes_GET_SIZE(data);
    Field field;
    for (int i = 0; i < 3; i++) {
        at = cut_field(&field, at, end);
        if (at == NULL || (field.mark != 'f' && field.mark != 't' && field.mark != 'j'))
            Py_RETURN_NONE;
    }
    if (field.mark != 'j' || field.size > PEEKED)
        Py_RETURN_NONE;
    if (field.size == 4 && memcmp(field.payload, "\"l:\"", 4) == 0)
        Py_RETURN_NONE;
    long long reply_to = plain_number(field.payload, field.size);
    if (reply_to < 0)
        Py_RETURN_NOTIMPLEMENTED;
    if (reply_to == 0)
        Py_RETURN_NONE;
    return PyLong_FromLongLong(reply_to);
}

/* -- publications ------------------------------------------------------------------------------------------------- */

/* What was made of a field of the publication before: most of those in an entry have the same producer, event, rooms. */
typedef struct {
    Field field;
    PyObject *made;
} Last;

/* What cluster/entries.py makes of them. */
typedef struct {
    PyObject *entry_type, *said_type, *target_type;
    Py_ssize_t unmetered;
    Last producer, target, event;
} Reader;

static PyObject *
producer_of(const Reader *Py_UNUSED(in), const Field *field)
{
    if (field->mark != 'f' || field->size < 1 || field->size > 64)
        return NULL;
    for (Py_ssize_t i = 0; i < field->size; i++) {
        char c = field->payload[i];
        if (!Py_ISALNUM(c) && c != '_' && c != '.' && c != ':' && c != '-')
            return NULL;
    }
    return PyUnicode_DecodeASCII(field->payload, field->size, NULL);
}

static PyObject *
event_of(const Reader *Py_UNUSED(in), const Field *field)
{
    PyObject *name = field->mark == 'f' ? PyUnicode_DecodeUTF8(field->payload, field->size, NULL) : NULL;
    if (name != NULL && !may_be_sent(name))
        Py_CLEAR(name);
    return name;
}

static PyObject *
target_of(const Reader *in, const Field *field)
{
    const Limits limits = {.depth = 2};
    PyObject *lists = field->mark == 'j' ? scan_all(field->payload, field->size, &limits) : NULL, *target = NULL;
    if (lists != NULL && PyList_CheckExact(lists) && PyList_GET_SIZE(lists) == 3)
        target = new_tuple(in->target_type, 3);
    for (Py_ssize_t i = 0; target != NULL && i < 3; i++) {
        PyObject *texts = PyList_GET_ITEM(lists, i);
        int fine = PyList_CheckExact(texts);
        for (Py_ssize_t j = 0; fine && j < PyList_GET_SIZE(texts); j++)
            fine = PyUnicode_CheckExact(PyList_GET_ITEM(texts, j));
        PyObject *tuple = fine ? PyList_AsTuple(texts) : NULL;
        if (tuple != NULL)
            PyTuple_SET_ITEM(target, i, tuple);
        else
            Py_CLEAR(target);
    }
    Py_XDECREF(lists);
    if (target != NULL)
        PyObject_GC_UnTrack(target);
    return target;
}

/* Return what a field is, or was, as the one before it; borrowed. NULL for what Python has to do. */
static PyObject *
same_or_new(Reader *in, Last *last, const Field *field, PyObject *(*make)(const Reader *, const Field *))
{
    if (last->made != NULL && field->mark == last->field.mark && field->size == last->field.size
        && memcmp(field->payload, last->field.payload, field->size) == 0)
        return last->made;
    Py_XSETREF(last->made, make(in, field));
    last->field = *field;
    return last->made;
}

/* Return the Entry of a plain event; NULL for what Python has to do. */
static PyObject *
read_publication(Reader *in, const Field *publication)
{
    enum { FORMAT, PRODUCER, SEQ, KIND, TARGET, EVENT, ARGS, AGAIN, COUNT };
    Field fields[COUNT];
    int count = 0;
    const char *at = publication->payload, *end = at + publication->size;
    if (publication->size > in->unmetered)
        return NULL;
    while (at < end && count < COUNT)
        if ((at = cut_field(&fields[count++], at, end)) == NULL)
            return NULL;
    if (at < end || count < AGAIN || fields[FORMAT].mark != 'j' || fields[SEQ].mark != 'j' || fields[KIND].mark != 'f'
        || fields[ARGS].mark != 't' || plain_number(fields[FORMAT].payload, fields[FORMAT].size) != 1
        || fields[KIND].size != 5 || memcmp(fields[KIND].payload, "event", 5) != 0)
        return NULL;
    if (count == COUNT && (fields[AGAIN].mark != 'j' || plain_number(fields[AGAIN].payload, fields[AGAIN].size) != 1))
        return NULL;
    long long seq = plain_number(fields[SEQ].payload, fields[SEQ].size);
    PyObject *producer = same_or_new(in, &in->producer, &fields[PRODUCER], producer_of);
    PyObject *target = producer == NULL ? NULL : same_or_new(in, &in->target, &fields[TARGET], target_of);
    PyObject *event = target == NULL ? NULL : same_or_new(in, &in->event, &fields[EVENT], event_of);
    if (event == NULL || seq < 1)
        return NULL;
    PyObject *said = new_tuple(in->said_type, 3), *entry = said == NULL ? NULL : new_tuple(in->entry_type, 4);
    if (entry == NULL) {
        Py_XDECREF(said);
        return NULL;
    }
    PyTuple_SET_ITEM(entry, 2, said);
    PyTuple_SET_ITEM(said, 0, Py_NewRef(target));
    PyTuple_SET_ITEM(said, 1, Py_NewRef(event));
    PyTuple_SET_ITEM(entry, 0, Py_NewRef(producer));
    PyTuple_SET_ITEM(entry, 3, Py_NewRef(count == COUNT ? Py_True : Py_False));
    PyObject *args = PyBytes_FromStringAndSize(fields[ARGS].payload, fields[ARGS].size);
    PyObject *number = PyLong_FromLongLong(seq);
    PyTuple_SET_ITEM(said, 2, args);
    PyTuple_SET_ITEM(entry, 1, number);
    if (args == NULL || number == NULL)
        Py_CLEAR(entry);
    if (entry != NULL) { /* they hold texts, bytes and each other; the node keeps tens of thousands of them */
        PyObject_GC_UnTrack(said);
        PyObject_GC_UnTrack(entry);
    }
    return entry;
}

static PyObject *
read_publications(Reader *in, const char *at, const char *end)
{
    Field field;
    PyObject *found = PyList_New(0);
    while (found != NULL && at < end) {
        at = cut_field(&field, at, end);
        PyObject *one = at == NULL || field.mark != 't' ? NULL : read_publication(in, &field);
        if (one == NULL && at != NULL && field.mark == 't' && (one = leave_to_python()) != NULL)
            Py_SETREF(one, PyBytes_FromStringAndSize(field.payload, field.size));
        if (one == NULL || PyList_Append(found, one) < 0)
            Py_CLEAR(found);
        Py_XDECREF(one);
    }
    return found;
}

PyDoc_STRVAR(read_batch_doc,
             "read_batch(unmetered, entry_type, said_type, target_type, data)\n--\n\n"
             "As cluster.entries.decode_batch, but with the Entry of each that is a plain event; or NotImplemented.");

static PyObject *
read_batch(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count)
{
    if (count != 5 || !is_tuple_type(args[1]) || !is_tuple_type(args[2]) || !is_tuple_type(args[3])) {
        PyErr_SetString(PyExc_TypeError, "read_batch takes unmetered, entry_type, said_type, target_type, data");
        return NULL;
    }
    Reader in = {.entry_type = args[1], .said_type = args[2], .target_type = args[3]};
    in.unmetered = PyLong_AsSsize_t(args[0]);
    if (PyErr_Occurred())
        return NULL;
    if (!PyBytes_CheckExact(args[4]) || PyBytes_GET_SIZE(args[4]) == 0)
        Py_RETURN_NOTIMPLEMENTED;
    const char *data = PyBytes_AS_STRING(args[4]);
    PyObject *found = read_publications(&in, data, data + PyBytes_GET_SIZE(args[4]));
    Py_XDECREF(in.producer.made);
    Py_XDECREF(in.target.made);
    Py_XDECREF(in.event.made);
    return found != NULL ? found : leave_to_python();
}

PyMethodDef decoding_functions[] = {
    {"peek_reply_to", peek_reply_to, METH_O, peek_reply_to_doc},
    FUNCTION("decode", decode, decode_doc),
    FUNCTION("decode_event", decode_event, decode_event_doc),
    FUNCTION("read_batch", read_batch, read_batch_doc),
    FUNCTION("scan_json", scan_json, scan_json_doc),
    END_OF_FUNCTIONS,
};
