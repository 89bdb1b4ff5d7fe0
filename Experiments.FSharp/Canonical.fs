namespace SslResearch

open System
open System.Collections
open System.Globalization
open System.Security.Cryptography
open System.Text
open Microsoft.FSharp.Reflection

/// A value inside an experiment that has no canonical text (a function, a class, an array).
exception CanonicalException of path: string * typeName: string with
    override e.Message =
        $"{e.path} holds a value of type {e.typeName}, which has no canonical text: use records, unions, lists, options, tuples, numbers, strings."

/// A field that a record got when runs had been stored already. The value that they had without it, by its canonical text, is left out of the
/// text, so that they keep their identity.
[<AttributeUsage(AttributeTargets.Property)>]
type AddedLaterAttribute(before: string) =
    inherit Attribute()
    member _.Before = before

/// The text of a value that a run's identity is the hash of: every field of every record and union, one line each, the
/// same on every machine and in every culture.
[<RequireQualifiedAccess>]
module Canonical =
    /// Meaning of the code behind the values. Raise it when a change of code changes results of an unchanged experiment:
    /// every run gets a new identity then.
    let codeVersion = 1

    let private flags = Reflection.BindingFlags.Public ||| Reflection.BindingFlags.NonPublic

    let private typeName (t: Type) =
        let name =
            if t.Namespace = "SslResearch" || String.IsNullOrEmpty t.Namespace then
                t.Name
            else
                t.FullName

        match name.IndexOf '`' with
        | -1 -> name
        | i -> name.Substring(0, i)

    let private quoted (s: string) =
        let b = StringBuilder("\"")

        for c in s do
            match c with
            | '"' -> b.Append "\\\"" |> ignore
            | '\\' -> b.Append "\\\\" |> ignore
            | c when Char.IsControl c -> b.Append("\\u").Append((int c).ToString "x4") |> ignore
            | c -> b.Append c |> ignore

        b.Append('"').ToString()

    let private isUnion t = FSharpType.IsUnion(t, flags)

    let private isOption (t: Type) =
        t.IsGenericType
        && (t.GetGenericTypeDefinition() = typedefof<option<_>>
            || t.GetGenericTypeDefinition() = typedefof<voption<_>>)

    let rec private write (add: string -> string -> unit) path (value: obj) : unit =
        let nested (fields: (string * obj) seq) =
            for name, field in fields do
                write add (if path = "" then name else path + "." + name) field

        match value with
        | null -> add path "none"
        | :? string as s -> add path (quoted s)
        | :? bool as b -> add path (if b then "true" else "false")
        | :? float as x -> add path (x.ToString("R", CultureInfo.InvariantCulture))
        | :? float32 as x -> add path (x.ToString("R", CultureInfo.InvariantCulture))
        | :? int
        | :? int64
        | :? uint64
        | :? uint32
        | :? int16
        | :? uint16
        | :? byte
        | :? sbyte
        | :? decimal -> add path ((value :?> IFormattable).ToString(null, CultureInfo.InvariantCulture))
        | :? Enum -> add path (value.ToString())
        | :? ITrainedRun as run -> add path $"run {run.Id}"
        | _ ->
            let t = value.GetType()

            if isOption t then
                let case, fields = FSharpValue.GetUnionFields(value, t, flags)

                if fields.Length = 0 then
                    add path "none"
                else
                    add path case.Name
                    write add path fields[0]
            elif FSharpType.IsTuple t then
                FSharpValue.GetTupleFields value
                |> Seq.mapi (fun i x -> $"Item{i + 1}", x)
                |> nested
            elif t.IsGenericType && t.GetGenericTypeDefinition() = typedefof<list<_>> then
                let items = [ for x in (value :?> IEnumerable) -> x ]
                add path $"list of {items.Length}"
                items |> List.iteri (fun i x -> write add $"{path}[{i}]" x)
            elif isUnion t then
                let case, fields = FSharpValue.GetUnionFields(value, t, flags)
                add path case.Name
                nested (Seq.zip (case.GetFields() |> Seq.map _.Name) fields)
            elif FSharpType.IsRecord(t, flags) then
                add path (typeName t)

                nested
                    [
                        for p in FSharpType.GetRecordFields(t, flags) do
                            let field = FSharpValue.GetRecordField(value, p)

                            match p.GetCustomAttributes(typeof<AddedLaterAttribute>, false) with
                            | [| :? AddedLaterAttribute as later |] when leaves field = [ later.Before ] -> ()
                            | _ -> p.Name, field
                    ]
            else
                raise (CanonicalException(path, t.FullName))

    and private leaves (value: obj) : string list =
        let lines = ResizeArray()
        write (fun _ line -> lines.Add line) "" value
        List.ofSeq lines

    /// One line `path = value` for each leaf, and one for each record and union case on the way, in order of declaration.
    let text (name: string) (value: obj) : string =
        let b = StringBuilder()
        write (fun path line -> b.Append(path).Append(" = ").Append(line).Append('\n') |> ignore) name value
        b.ToString()

    /// The first 12 hexadecimal digits of the SHA-256 of a text.
    let hash (text: string) =
        (Encoding.UTF8.GetBytes text |> SHA256.HashData |> Convert.ToHexStringLower).Substring(0, 12)
