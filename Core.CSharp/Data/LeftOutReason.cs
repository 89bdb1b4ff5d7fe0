namespace SslResearch.Core.Data;

/// <summary>Why an import leaves a thing of its source out that is no fault.</summary>
public enum LeftOutReason
{
    /// <summary>Its name, or that of a folder around it, begins with a dot.</summary>
    Hidden,

    /// <summary>In <c>__MACOSX</c>, which the archiver of one system adds.</summary>
    Archiver,

    /// <summary>No extension of an image.</summary>
    Extension,

    /// <summary>No file of the release that the source holds.</summary>
    Beside,

    /// <summary>A link to what lies outside the folder.</summary>
    LinkOut,

    /// <summary>A link to a folder that is read under its own name, perhaps one around the link.</summary>
    LinkAgain,
}
