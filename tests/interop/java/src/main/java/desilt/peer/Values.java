package desilt.peer;

import java.io.IOException;
import java.math.BigDecimal;
import java.time.LocalDate;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.paimon.data.BinaryRow;
import org.apache.paimon.data.BinaryString;
import org.apache.paimon.data.DataGetters;
import org.apache.paimon.data.Decimal;
import org.apache.paimon.data.GenericArray;
import org.apache.paimon.data.GenericMap;
import org.apache.paimon.data.GenericRow;
import org.apache.paimon.data.InternalArray;
import org.apache.paimon.data.InternalMap;
import org.apache.paimon.data.InternalRow;
import org.apache.paimon.data.Timestamp;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.core.JsonGenerator;
import org.apache.paimon.shade.jackson2.com.fasterxml.jackson.databind.JsonNode;
import org.apache.paimon.types.ArrayType;
import org.apache.paimon.types.DataType;
import org.apache.paimon.types.DataTypeChecks;
import org.apache.paimon.types.DecimalType;
import org.apache.paimon.types.IntType;
import org.apache.paimon.types.MapType;
import org.apache.paimon.types.MultisetType;
import org.apache.paimon.types.RowType;
import org.apache.paimon.utils.SerializationUtils;

/** The protocol's canonical JSON encoding of one value, both ways. */
final class Values {
    private static final LocalDate FIRST_DATE = LocalDate.of(1, 1, 1);
    private static final LocalDate LAST_DATE = LocalDate.of(9999, 12, 31);
    private static final DataType COUNT = new IntType(false);

    private Values() {}

    /** Writes the item at {@code pos} of a row or an array; null when the item is null. */
    interface Encoder {
        void write(DataGetters row, int pos, JsonGenerator out) throws IOException;
    }

    static Encoder[] encoders(List<DataType> types) {
        return types.stream().map(Values::encoder).toArray(Encoder[]::new);
    }

    static Encoder encoder(DataType type) {
        Encoder present = presentEncoder(type);
        return (row, pos, out) -> {
            if (row.isNullAt(pos)) {
                out.writeNull();
            } else {
                present.write(row, pos, out);
            }
        };
    }

    private static Encoder presentEncoder(DataType type) {
        switch (type.getTypeRoot()) {
            case BOOLEAN:
                return (row, pos, out) -> out.writeBoolean(row.getBoolean(pos));
            case TINYINT:
                return (row, pos, out) -> out.writeNumber(row.getByte(pos));
            case SMALLINT:
                return (row, pos, out) -> out.writeNumber(row.getShort(pos));
            case INTEGER:
            case TIME_WITHOUT_TIME_ZONE:
                return (row, pos, out) -> out.writeNumber(row.getInt(pos));
            case BIGINT:
                return (row, pos, out) -> out.writeNumber(row.getLong(pos));
            case FLOAT:
                return (row, pos, out) -> out.writeString(Floats.repr(row.getFloat(pos)));
            case DOUBLE:
                return (row, pos, out) -> out.writeString(Floats.repr(row.getDouble(pos)));
            case DECIMAL:
                return decimalEncoder((DecimalType) type);
            case CHAR:
            case VARCHAR:
                return (row, pos, out) -> out.writeString(row.getString(pos).toString());
            case BINARY:
            case VARBINARY:
                return (row, pos, out) -> out.writeString(hex(row.getBinary(pos)));
            case DATE:
                return (row, pos, out) -> out.writeString(date(row.getInt(pos)));
            case TIMESTAMP_WITHOUT_TIME_ZONE:
            case TIMESTAMP_WITH_LOCAL_TIME_ZONE:
                return timestampEncoder(DataTypeChecks.getPrecision(type));
            case ARRAY:
                return arrayEncoder(encoder(((ArrayType) type).getElementType()));
            case MAP:
                return mapEncoder(((MapType) type).getKeyType(), ((MapType) type).getValueType());
            case MULTISET:
                return mapEncoder(((MultisetType) type).getElementType(), COUNT);
            case ROW:
                return rowEncoder(encoders(((RowType) type).getFieldTypes()));
            default:
                throw new UnsupportedOperationException("values of type " + type);
        }
    }

    private static Encoder arrayEncoder(Encoder element) {
        return (row, pos, out) -> {
            InternalArray array = row.getArray(pos);
            out.writeStartArray();
            for (int i = 0; i < array.size(); i++) {
                element.write(array, i, out);
            }
            out.writeEndArray();
        };
    }

    private static Encoder mapEncoder(DataType keyType, DataType valueType) {
        Encoder key = encoder(keyType);
        Encoder value = encoder(valueType);
        return (row, pos, out) -> {
            InternalMap map = row.getMap(pos);
            out.writeStartObject();
            out.writeArrayFieldStart("map");
            for (int i = 0; i < map.size(); i++) {
                out.writeStartArray();
                key.write(map.keyArray(), i, out);
                value.write(map.valueArray(), i, out);
                out.writeEndArray();
            }
            out.writeEndArray();
            out.writeEndObject();
        };
    }

    private static Encoder rowEncoder(Encoder[] fields) {
        return (row, pos, out) -> {
            InternalRow inner = row.getRow(pos, fields.length);
            out.writeStartObject();
            out.writeArrayFieldStart("row");
            for (int i = 0; i < fields.length; i++) {
                fields[i].write(inner, i, out);
            }
            out.writeEndArray();
            out.writeEndObject();
        };
    }

    private static Encoder decimalEncoder(DecimalType type) {
        int precision = type.getPrecision();
        int scale = type.getScale();
        return (row, pos, out) ->
                out.writeString(
                        row.getDecimal(pos, precision, scale).toBigDecimal().toPlainString());
    }

    private static Encoder timestampEncoder(int precision) {
        return (row, pos, out) -> {
            Timestamp value = row.getTimestamp(pos, precision);
            out.writeStartObject();
            out.writeNumberField("ms", value.getMillisecond());
            out.writeNumberField("ns", value.getNanoOfMillisecond());
            out.writeEndObject();
        };
    }

    /** The library's internal value for one canonical JSON value. */
    static Object decode(DataType type, JsonNode value) {
        if (value == null || value.isNull()) {
            return null;
        }
        switch (type.getTypeRoot()) {
            case BOOLEAN:
                return value.asBoolean();
            case TINYINT:
                return (byte) within(value, Byte.MIN_VALUE, Byte.MAX_VALUE);
            case SMALLINT:
                return (short) within(value, Short.MIN_VALUE, Short.MAX_VALUE);
            case INTEGER:
            case TIME_WITHOUT_TIME_ZONE:
                return (int) within(value, Integer.MIN_VALUE, Integer.MAX_VALUE);
            case BIGINT:
                return within(value, Long.MIN_VALUE, Long.MAX_VALUE);
            case FLOAT:
                return (float) Double.parseDouble(value.asText());
            case DOUBLE:
                return Double.parseDouble(value.asText());
            case DECIMAL:
                return decimal((DecimalType) type, value.asText());
            case CHAR:
            case VARCHAR:
                return BinaryString.fromString(value.asText());
            case BINARY:
            case VARBINARY:
                return HexFormat.of().parseHex(value.asText());
            case DATE:
                return epochDay(value.asText());
            case TIMESTAMP_WITHOUT_TIME_ZONE:
            case TIMESTAMP_WITH_LOCAL_TIME_ZONE:
                return Timestamp.fromEpochMillis(
                        Args.need(value, "ms").asLong(), Args.need(value, "ns").asInt());
            case ARRAY:
                return array(((ArrayType) type).getElementType(), value);
            case MAP:
                return map(((MapType) type).getKeyType(), ((MapType) type).getValueType(), value);
            case MULTISET:
                return map(((MultisetType) type).getElementType(), COUNT, value);
            case ROW:
                return row(((RowType) type).getFieldTypes(), Args.need(value, "row"), 0);
            default:
                throw new UnsupportedOperationException("values of type " + type);
        }
    }

    private static GenericArray array(DataType element, JsonNode values) {
        Object[] items = new Object[values.size()];
        for (int i = 0; i < items.length; i++) {
            items[i] = decode(element, values.get(i));
        }
        return new GenericArray(items);
    }

    private static GenericMap map(DataType key, DataType value, JsonNode values) {
        Map<Object, Object> items = new LinkedHashMap<>();
        for (JsonNode entry : Args.need(values, "map")) {
            items.put(decode(key, entry.get(0)), decode(value, entry.get(1)));
        }
        return new GenericMap(items);
    }

    /** A row of the given types from JSON values that start at index {@code from}. */
    static GenericRow row(List<DataType> types, JsonNode values, int from) {
        if (values.size() - from != types.size()) {
            throw new IllegalArgumentException(
                    "a row has " + (values.size() - from) + " values, not " + types.size());
        }
        GenericRow row = new GenericRow(types.size());
        for (int i = 0; i < types.size(); i++) {
            row.setField(i, decode(types.get(i), values.get(from + i)));
        }
        return row;
    }

    /** A row's bytes behind its four-byte big-endian arity, in hex. */
    static String rowHex(BinaryRow row) {
        return hex(SerializationUtils.serializeBinaryRow(row));
    }

    static String hex(byte[] bytes) {
        return HexFormat.of().formatHex(bytes);
    }

    private static long within(JsonNode value, long low, long high) {
        if (!value.isIntegralNumber() || !value.canConvertToLong()) {
            throw new IllegalArgumentException("not an integer of 64 bits: " + value);
        }
        long number = value.asLong();
        if (number < low || number > high) {
            throw new IllegalArgumentException("out of the type's range: " + number);
        }
        return number;
    }

    private static Decimal decimal(DecimalType type, String text) {
        Decimal value =
                Decimal.fromBigDecimal(
                        new BigDecimal(text), type.getPrecision(), type.getScale());
        if (value == null) {
            throw new IllegalArgumentException(text + " does not fit " + type);
        }
        return value;
    }

    private static String date(int epochDay) {
        LocalDate date = LocalDate.ofEpochDay(epochDay);
        boolean plain = !date.isBefore(FIRST_DATE) && !date.isAfter(LAST_DATE);
        return plain ? date.toString() : "d:" + epochDay;
    }

    private static int epochDay(String text) {
        if (text.startsWith("d:")) {
            return Integer.parseInt(text.substring(2));
        }
        return Math.toIntExact(LocalDate.parse(text).toEpochDay());
    }
}
