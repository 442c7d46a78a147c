// Values described in plain JSON that both languages can read, so that neither end's serializer is needed to
// tell the other which value is meant: ["str", "x"], ["num", "1.5"], ["big", "5"], ["bool", true], ["null"],
// ["undef"], ["bytes", "<hex>"], ["list", [...]], ["dict", [[key, value], ...]].

export const build = ([kind, value]) => {
    switch (kind) {
        case "str": return value;
        case "num": return Number(value);
        case "big": return BigInt(value);
        case "bool": return value;
        case "null": return null;
        case "undef": return undefined;
        case "bytes": return Buffer.from(value, "hex");
        case "list": return value.map(build);
        case "dict": return Object.fromEntries(value.map(([key, item]) => [key, build(item)]));
        default: throw new Error(`no such kind: ${kind}`);
    }
};

export const describe = (value) => {
    if (value === null) return ["null"];
    if (value === undefined) return ["undef"];
    if (typeof value === "string") return ["str", value];
    if (typeof value === "number") return ["num", String(value)];
    if (typeof value === "bigint") return ["big", String(value)];
    if (typeof value === "boolean") return ["bool", value];
    if (value instanceof Uint8Array) return ["bytes", Buffer.from(value).toString("hex")];
    if (Array.isArray(value)) return ["list", value.map(describe)];
    return ["dict", Object.entries(value).map(([key, item]) => [key, describe(item)])];
};
