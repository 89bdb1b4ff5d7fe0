namespace SslResearch.Core.Data;

/// <summary>
/// Names that stand for one dataset alone: the words of the language that open them promise its classes and image size, and its constants of
/// normalisation. Any number of images will do, so that a part of the dataset can be imported.
/// </summary>
internal static class KnownForm
{
    private static readonly ImageShape Shape = new(32, 32, 3);

    private static readonly (string Name, string Title, string Word, string[] Classes)[] All =
    [
        ("cifar10", "CIFAR-10", "Cifar10", ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]),
        (
            "cifar100",
            "CIFAR-100",
            "Cifar100",
            [
                "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl", "boy", "bridge", "bus",
                "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab",
                "crocodile", "cup", "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard",
                "lamp", "lawn_mower", "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
                "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate", "poppy", "porcupine",
                "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark", "shrew", "skunk", "skyscraper", "snail", "snake",
                "spider", "squirrel", "streetcar", "sunflower", "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train",
                "trout", "tulip", "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
            ]),
    ];

    /// <summary>Checks an import under such a name; other names pass.</summary>
    /// <param name="name">Of the dataset.</param>
    /// <param name="shape">Of its images.</param>
    /// <param name="classNames">By label.</param>
    /// <exception cref="DataException">It is another dataset.</exception>
    public static void Check(string name, ImageShape shape, IReadOnlyList<string> classNames)
    {
        var known = Array.Find(All, k => k.Name == name);
        if (known.Name is null || (shape == Shape && classNames.SequenceEqual(known.Classes, StringComparer.Ordinal)))
        {
            return;
        }

        var difference = shape != Shape
            ? $"images are {shape} here, {Shape} there"
            : classNames.Count != known.Classes.Length
                ? $"{classNames.Count} classes here, {known.Classes.Length} there"
                : $"the classes' names differ, the first '{classNames.Except(known.Classes).FirstOrDefault(classNames[0])}'";
        throw new DataException(
            $"'{name}' is the name of {known.Title}, and this is something else: {difference}. Choose another name, and open it with Data.imported \"NAME\" in place of {known.Word}.");
    }
}
