namespace SslResearch.Benchmarks;

/// <summary>Drawing and rendering of views on one thread.</summary>
internal static class AugmentationSide
{
    private const int Chunk = 16;

    public static Measurement Run(int size, int output, double seconds)
    {
        using var store = Images.Open(size);
        var pipeline = Pipelines.Full(store.Shape, output);
        var view = new float[pipeline.OutputFloats];
        long position = 0;
        return Stopwatches.Measure(
            () =>
            {
                for (var i = 0; i < Chunk; i++)
                {
                    var index = position % store.Count;
                    pipeline.Render(store.Pixels(index), pipeline.Draw(0, (int)(position / store.Count), index, 0), view);
                    position++;
                }
            },
            "views/s",
            Chunk,
            seconds);
    }
}
