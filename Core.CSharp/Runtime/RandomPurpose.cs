namespace SslResearch.Core.Runtime;

/// <summary>What random numbers are for; a value is part of the generator's position and never changes its meaning.</summary>
public enum RandomPurpose : ushort
{
    /// <summary>Initial weights.</summary>
    Weights = 1,

    /// <summary>Order of the images of an epoch.</summary>
    Order = 2,

    /// <summary>Parameters of the augmentation of one view.</summary>
    Augmentation = 3,

    /// <summary>Rendering of procedural images.</summary>
    Shapes = 4,

    /// <summary>Splits and subsets chosen by evaluation.</summary>
    Evaluation = 5,

    /// <summary>Draws inside a method's step (shuffles, noise).</summary>
    Method = 6,

    /// <summary>Which patches of a view are hidden.</summary>
    Mask = 7,

    /// <summary>Motion of procedural clips.</summary>
    Clips = 8,
}
