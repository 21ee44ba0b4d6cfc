package desilt.peer;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInput;
import java.io.DataInputStream;
import java.io.DataOutput;
import java.io.DataOutputStream;
import java.io.IOException;
import java.lang.reflect.Array;
import java.lang.reflect.Field;
import java.util.HexFormat;
import java.util.Map;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.utils.RoaringBitmap32;
import org.apache.paimon.utils.RoaringBitmap64;

/** The library's roaring bitmaps, of 64 bits where a request says "wide", else of 32. */
final class Bitmaps {
    private Bitmaps() {}

    static void register(Map<String, Peer.Operation> operations) {
        operations.put("bitmaps_of", Bitmaps::make);
        operations.put("bitmap_values", Bitmaps::values);
        operations.put("bitmap_unions", Bitmaps::unions);
    }

    /** The bytes of each list of values, added in their order. */
    private static void make(JsonNode args, JsonGenerator out) throws IOException {
        boolean wide = Args.flag(args, "wide", false);
        out.writeStartArray();
        for (JsonNode values : Args.need(args, "values")) {
            out.writeString(Values.hex(wide ? wideOf(values) : narrowOf(values)));
        }
        out.writeEndArray();
    }

    private static byte[] wideOf(JsonNode values) throws IOException {
        RoaringBitmap64 bitmap = new RoaringBitmap64();
        values.forEach(value -> bitmap.add(value.asLong()));
        return bitmap.serialize();
    }

    private static byte[] narrowOf(JsonNode values) throws IOException {
        RoaringBitmap32 bitmap = new RoaringBitmap32();
        values.forEach(value -> bitmap.add(value.asInt()));
        return bytes(bitmap);
    }

    /** The values of each bitmap, in the library's order. */
    private static void values(JsonNode args, JsonGenerator out) throws Exception {
        boolean wide = Args.flag(args, "wide", false);
        out.writeStartArray();
        for (JsonNode hex : Args.need(args, "bitmaps")) {
            Object bitmap = wide ? wideFrom(hex) : narrowFrom(hex);
            Field inner = bitmap.getClass().getDeclaredField("roaringBitmap");
            inner.setAccessible(true);
            Object roaring = inner.get(bitmap);
            Object all = roaring.getClass().getMethod("toArray").invoke(roaring);
            out.writeStartArray();
            for (int i = 0; i < Array.getLength(all); i++) {
                out.writeNumber(Array.getLong(all, i));
            }
            out.writeEndArray();
        }
        out.writeEndArray();
    }

    /** The union of each pair as the aggregate functions make it, and whether it equals the third. */
    private static void unions(JsonNode args, JsonGenerator out) throws IOException {
        boolean wide = Args.flag(args, "wide", false);
        out.writeStartArray();
        for (JsonNode three : Args.need(args, "triples")) {
            out.writeStartArray();
            if (wide) {
                RoaringBitmap64 union = wideFrom(three.get(0));
                union.or(wideFrom(three.get(1)));
                out.writeString(Values.hex(union.serialize()));
                out.writeBoolean(union.equals(wideFrom(three.get(2))));
            } else {
                RoaringBitmap32 union = narrowFrom(three.get(0));
                union.or(narrowFrom(three.get(1)));
                out.writeString(Values.hex(bytes(union)));
                out.writeBoolean(union.equals(narrowFrom(three.get(2))));
            }
            out.writeEndArray();
        }
        out.writeEndArray();
    }

    private static RoaringBitmap64 wideFrom(JsonNode hex) throws IOException {
        RoaringBitmap64 bitmap = new RoaringBitmap64();
        bitmap.deserialize(HexFormat.of().parseHex(hex.asText()));
        return bitmap;
    }

    private static RoaringBitmap32 narrowFrom(JsonNode hex) throws IOException {
        RoaringBitmap32 bitmap = new RoaringBitmap32();
        byte[] bytes = HexFormat.of().parseHex(hex.asText());
        DataInput in = new DataInputStream(new ByteArrayInputStream(bytes));
        bitmap.deserialize(in);
        return bitmap;
    }

    private static byte[] bytes(RoaringBitmap32 bitmap) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutput out = new DataOutputStream(bytes);
        bitmap.serialize(out);
        return bytes.toByteArray();
    }
}
