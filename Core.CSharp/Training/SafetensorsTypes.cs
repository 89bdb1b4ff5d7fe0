using TorchSharp;

namespace SslResearch.Core.Training;

/// <summary>Element types that the format and torch have in common.</summary>
internal static class SafetensorsTypes
{
    private static readonly (string Name, torch.ScalarType Type, int Size)[] All =
    [
        ("F64", torch.ScalarType.Float64, 8),
        ("I64", torch.ScalarType.Int64, 8),
        ("F32", torch.ScalarType.Float32, 4),
        ("I32", torch.ScalarType.Int32, 4),
        ("F16", torch.ScalarType.Float16, 2),
        ("BF16", torch.ScalarType.BFloat16, 2),
        ("I16", torch.ScalarType.Int16, 2),
        ("U8", torch.ScalarType.Byte, 1),
        ("I8", torch.ScalarType.Int8, 1),
        ("BOOL", torch.ScalarType.Bool, 1),
    ];

    public static string Names => string.Join(", ", All.Select(t => t.Name));

    public static (string Name, int Size)? Of(torch.ScalarType type) =>
        Array.Find(All, t => t.Type == type) is { Name: not null } found ? (found.Name, found.Size) : null;

    public static (torch.ScalarType Type, int Size)? Of(string? name) =>
        Array.Find(All, t => t.Name == name) is { Name: not null } found ? (found.Type, found.Size) : null;
}
