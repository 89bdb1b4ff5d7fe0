namespace SslResearch.Core.Augment;

/// <summary>Scratch memory of one thread; grows to the largest need that it has seen and then allocates nothing.</summary>
internal sealed unsafe class Workspace
{
    /// <summary>Floats that a kernel may read or write beyond the end of any buffer.</summary>
    public const int Slack = 64;

    private const int Alignment = 64;

    [ThreadStatic]
    private static Workspace? current;

    private float[] memory = [];
    private float* origin;

    /// <summary>Two images of three planes each.</summary>
    public float* Planes, OtherPlanes;

    /// <summary>Rows between the horizontal and the vertical pass, three planes.</summary>
    public float* Between;

    /// <summary>One source row per channel.</summary>
    public float* Rows;

    /// <summary>Two lines for filters, with <see cref="Filter.MaxRadius"/> blocks of padding at both ends.</summary>
    public float* LineA, LineB;

    /// <summary>One block per channel.</summary>
    public float* Tail;

    /// <summary>Half of a filter.</summary>
    public float* Half;

    public AxisTable X, Y;

    /// <summary>The program over pixels that is being gathered.</summary>
    public readonly PointOp[] Points = new PointOp[4 * ViewParameters.Capacity];

    /// <summary>This thread's memory, large enough for <paramref name="need"/>.</summary>
    public static Workspace For(in WorkspaceNeed need)
    {
        var workspace = current ??= new Workspace();
        workspace.Reserve(need);
        return workspace;
    }

    private void Reserve(in WorkspaceNeed need)
    {
        var total = need.Total;
        if (memory.Length < total + Alignment)
        {
            memory = GC.AllocateArray<float>(total + Alignment, pinned: true);
            fixed (float* first = memory)
            {
                origin = (float*)(((nuint)first + Alignment - 1) & ~(nuint)(Alignment - 1));
            }
        }

        var at = origin;
        Planes = Take(ref at, need.Image);
        OtherPlanes = Take(ref at, need.Image);
        Between = Take(ref at, need.Between);
        Rows = Take(ref at, need.Rows);
        LineA = Take(ref at, need.Line);
        LineB = Take(ref at, need.Line);
        Tail = Take(ref at, WorkspaceNeed.TailFloats);
        Half = Take(ref at, WorkspaceNeed.HalfFloats);
        X.Start = (int*)Take(ref at, need.Starts);
        X.Weights = Take(ref at, need.Weights);
        Y.Start = (int*)Take(ref at, need.Starts);
        Y.Weights = Take(ref at, need.Weights);
    }

    private static float* Take(ref float* at, int floats)
    {
        var result = at;
        at += floats;
        return result;
    }
}
