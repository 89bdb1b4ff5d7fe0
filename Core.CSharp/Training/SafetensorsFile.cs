using System.Buffers.Binary;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>
/// A safetensors file open for reading: an 8-byte header length, a JSON header, raw tensors (Hugging Face, "safetensors: format").
/// The header is checked completely before anything is read: lengths, types, shapes, offsets without gap or overlap. Nothing in such a file is executed.
/// </summary>
public sealed class SafetensorsFile : IDisposable
{
    private const int LengthBytes = 8;
    private const long LargestHeader = 100_000_000;

    private readonly FileStream stream;
    private readonly long dataStart;
    private readonly Dictionary<string, SafetensorsEntry> entries = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> metadata = new(StringComparer.Ordinal);

    private SafetensorsFile(FileStream stream)
    {
        this.stream = stream;
        dataStart = ReadHeader();
    }

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Entries => entries;

    /// <summary>The free texts of the header.</summary>
    public IReadOnlyDictionary<string, string> Metadata => metadata;

    /// <summary>Opens a file and checks its header.</summary>
    /// <exception cref="SafetensorsException">The file is missing, unreadable or malformed.</exception>
    public static SafetensorsFile Open(string path)
    {
        FileStream? stream = null;
        try
        {
            stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.Read, 1 << 16);
            return new SafetensorsFile(stream);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            stream?.Dispose();
            throw new SafetensorsException(path, $"cannot be read ({e.Message})", e);
        }
        catch
        {
            stream?.Dispose();
            throw;
        }
    }

    /// <summary>A new contiguous tensor on the CPU with the stored values.</summary>
    /// <exception cref="SafetensorsException">No such tensor.</exception>
    public torch.Tensor Read(string name)
    {
        if (!entries.TryGetValue(name, out var entry))
        {
            throw Fault($"holds no tensor '{name}'");
        }

        var tensor = torch.empty(entry.Shape.ToArray(), entry.Type);
        CopyTo(entry, tensor);
        return tensor;
    }

    /// <summary>Copies a stored tensor into an existing one of the same type and shape, on any device and of any layout.</summary>
    /// <exception cref="SafetensorsException">No such tensor, or another type or shape.</exception>
    public void ReadInto(string name, torch.Tensor target)
    {
        if (!entries.TryGetValue(name, out var entry))
        {
            throw Fault($"holds no tensor '{name}'");
        }

        if (entry.Type != target.dtype || !entry.Shape.SequenceEqual(target.shape))
        {
            throw Fault($"tensor '{name}' is {entry.Type} ({string.Join(", ", entry.Shape)}), expected {target.dtype} ({string.Join(", ", target.shape)})");
        }

        using var scope = torch.NewDisposeScope();
        using var noGrad = torch.no_grad();
        target.copy_(Read(name));
    }

    /// <summary>Whether every byte of the file, header and data, is as <see cref="Safetensors.Write"/> left it; false where it holds no such hash.</summary>
    public bool IsIntact()
    {
        if (!metadata.TryGetValue(Safetensors.HashKey, out var stored))
        {
            return false;
        }

        var header = new byte[dataStart];
        stream.Position = 0;
        stream.ReadExactly(header);
        var digits = header.AsSpan().IndexOf(Encoding.ASCII.GetBytes($"\"{Safetensors.HashKey}\":\"{stored}\""));
        if (digits < 0 || stored.Length != Safetensors.BlankHash.Length)
        {
            return false;
        }

        Encoding.ASCII.GetBytes(Safetensors.BlankHash).CopyTo(header, digits + Safetensors.HashKey.Length + 4);
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        hash.AppendData(header);
        var part = new byte[1 << 20];
        for (int read; (read = stream.Read(part)) > 0;)
        {
            hash.AppendData(part, 0, read);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset()) == stored;
    }

    /// <summary>SHA-256 of all bytes behind the header, lower-case hexadecimal: equal where the tensors are, whatever the metadata.</summary>
    public string DataHash()
    {
        stream.Position = dataStart;
        return Convert.ToHexStringLower(SHA256.HashData(stream));
    }

    /// <inheritdoc/>
    public void Dispose() => stream.Dispose();

    private unsafe void CopyTo(SafetensorsEntry entry, torch.Tensor tensor)
    {
        if (entry.Bytes == 0)
        {
            return;
        }

        stream.Position = entry.Offset;
        var pointer = (byte*)Runtime.Aten.DataPointer(tensor);
        for (var done = 0L; done < entry.Bytes;)
        {
            var part = (int)Math.Min(entry.Bytes - done, 1 << 26);
            stream.ReadExactly(new Span<byte>(pointer + done, part));
            done += part;
        }
    }

    private long ReadHeader()
    {
        Span<byte> lengthBytes = stackalloc byte[LengthBytes];
        if (stream.Length < LengthBytes)
        {
            throw Fault($"is no safetensors file: {stream.Length} bytes");
        }

        stream.ReadExactly(lengthBytes);
        var length = BinaryPrimitives.ReadUInt64LittleEndian(lengthBytes);
        if (length > LargestHeader || (long)length > stream.Length - LengthBytes)
        {
            throw Fault($"is truncated or no safetensors file: its header says {length} bytes of {stream.Length - LengthBytes}");
        }

        var header = new byte[(int)length];
        stream.ReadExactly(header);
        if (header is not [(byte)'{', ..])
        {
            throw Fault("is no safetensors file: its header does not start with '{'");
        }

        var start = LengthBytes + (long)length;
        try
        {
            using var json = JsonDocument.Parse(new UTF8Encoding(false, throwOnInvalidBytes: true).GetString(header));
            foreach (var property in json.RootElement.EnumerateObject())
            {
                if (property.NameEquals("__metadata__"))
                {
                    ReadMetadata(property.Value);
                }
                else if (!entries.TryAdd(property.Name, ReadEntry(property.Name, property.Value, start)))
                {
                    throw Fault($"names tensor '{property.Name}' twice");
                }
            }
        }
        catch (Exception e) when (e is JsonException or DecoderFallbackException or InvalidOperationException or FormatException)
        {
            throw new SafetensorsException(stream.Name, $"has a malformed header ({e.Message})", e);
        }

        CheckCoverage(start);
        return start;
    }

    private void ReadMetadata(JsonElement value)
    {
        foreach (var text in value.EnumerateObject())
        {
            metadata[text.Name] = text.Value.ValueKind == JsonValueKind.String
                ? text.Value.GetString()!
                : throw Fault($"has metadata '{text.Name}' that is no text");
        }
    }

    private SafetensorsEntry ReadEntry(string name, JsonElement value, long start)
    {
        if (value.ValueKind != JsonValueKind.Object
            || !value.TryGetProperty("dtype", out var dtype) || dtype.ValueKind != JsonValueKind.String
            || !value.TryGetProperty("shape", out var sizes) || sizes.ValueKind != JsonValueKind.Array
            || !value.TryGetProperty("data_offsets", out var offsets) || offsets.ValueKind != JsonValueKind.Array || offsets.GetArrayLength() != 2)
        {
            throw Fault($"tensor '{name}' lacks a valid dtype, shape or data_offsets");
        }

        var (type, size) = SafetensorsTypes.Of(dtype.GetString())
            ?? throw Fault($"tensor '{name}' has the type {dtype.GetString()}; known are {SafetensorsTypes.Names}");
        var shape = sizes.EnumerateArray().Select(s => s.GetInt64()).ToArray();
        var (begin, end) = (offsets[0].GetInt64(), offsets[1].GetInt64());
        var bytes = (Int128)size;
        foreach (var n in shape)
        {
            bytes *= n < 0 ? throw Fault($"tensor '{name}' has a negative size") : n;
            if (bytes > long.MaxValue)
            {
                throw Fault($"tensor '{name}' has an impossible shape ({string.Join(", ", shape)})");
            }
        }

        return begin >= 0 && end >= begin && end - begin == bytes
            ? new SafetensorsEntry(name, type, shape, start + begin, end - begin)
            : throw Fault($"tensor '{name}': offsets [{begin}, {end}] do not fit {dtype.GetString()} ({string.Join(", ", shape)}), {bytes} bytes");
    }

    private void CheckCoverage(long start)
    {
        var position = start;
        foreach (var entry in entries.Values.OrderBy(e => e.Offset).ThenBy(e => e.Bytes))
        {
            if (entry.Offset != position)
            {
                throw Fault($"tensor '{entry.Name}' starts at byte {entry.Offset - start} of the data, expected {position - start}: {(entry.Offset < position ? "tensors overlap" : "there is a gap")}");
            }

            position += entry.Bytes;
        }

        if (position != stream.Length)
        {
            throw Fault($"is truncated or has a tail: {stream.Length} bytes, its header says {position}");
        }
    }

    private SafetensorsException Fault(string fault) => new(stream.Name, fault);
}
