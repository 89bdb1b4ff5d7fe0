namespace SslResearch.Core.Data;

/// <summary>A public dataset that can be fetched by name.</summary>
/// <param name="Name">Name for the command line and under the data root.</param>
/// <param name="Url">Archive at its publisher.</param>
/// <param name="Sha256">Of the archive, 64 hexadecimal digits.</param>
/// <param name="Home">The publisher's page: description, terms, citation.</param>
public sealed record KnownDataset(string Name, Uri Url, string Sha256, Uri Home);

/// <summary>The datasets that <c>sslr data fetch</c> knows; only those whose SHA-256 several public sources agree on.</summary>
public static class KnownDatasets
{
    private static readonly Uri Cifar = new("https://www.cs.toronto.edu/~kriz/cifar.html");

    /// <summary>All of them.</summary>
    public static IReadOnlyList<KnownDataset> All { get; } =
    [
        new(
            "cifar10",
            new Uri("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"),
            "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
            Cifar),
        new(
            "cifar100",
            new Uri("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"),
            "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
            Cifar),
    ];

    /// <summary>The entry of that name, or null.</summary>
    public static KnownDataset? Find(string name) => All.FirstOrDefault(d => d.Name == name);
}
