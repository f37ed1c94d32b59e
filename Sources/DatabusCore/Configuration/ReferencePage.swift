extension ConfigurationSchema {
  /// The reference page of the configuration as Markdown, with a newline at its end.
  public static func referencePage(_ registry: ComponentRegistry) -> String {
    var page = ReferencePage()
    page.text = """
      # Configuration reference

      Made by `databus reference` from the declarations that decode the file; do not edit it.

      One JSON file, found by `--config FILE`, else `$DATABUS_CONFIG`, else `./databus.json`, and read at start. Relative paths
      are relative to the file. In strings, `${NAME}` is the environment variable, `${NAME:-default}` has a default, and
      `${file:/path}` is the contents of a file (a secret: never shown); `$${` is `${` itself. Durations are written `"250ms"`,
      `"1s"`, `"5m"`, `"1h"`, `"7d"`; sizes `"1000"`, `"64KiB"`, `"16MiB"`. `databus validate` names everything that is wrong at
      once. A key that is not listed here is an error.

      """
    page.write(ConfigurationDeclaration.root(registry), path: "")
    return page.text
  }
}

/// Writes one table for an object and then a section for each object in it.
private struct ReferencePage {
  var text = ""

  mutating func write(_ declaration: ObjectDeclaration, path: String) {
    let fields = declaration.fields.filter(\.isBuilt)
    if !fields.isEmpty {
      text += "\n| key | value | default | |\n| --- | --- | --- | --- |\n"
      for field in fields {
        let summary = field.summary + (cases(field.kind) ?? "")
        text +=
          "| `\(field.name)` | \(escape(describe(field.kind))) | \(escape(defaultText(field))) | \(escape(summary)) |\n"
      }
    }
    let unbuilt = declaration.fields.filter { !$0.isBuilt }.map { "`\($0.name)`" }
    if !unbuilt.isEmpty { text += "\nNot built yet, and refused: \(unbuilt.joined(separator: ", ")).\n" }
    for field in fields { writeSection(field.kind, path: path.isEmpty ? field.name : "\(path).\(field.name)") }
  }

  private mutating func writeSection(_ kind: ValueKind, path: String) {
    switch kind {
    case .object(let declaration):
      text += "\n## `\(path)`\n\n\(declaration.summary)\n"
      write(declaration, path: path)
    case .union(let declaration):
      for one in declaration.cases {
        text += "\n## `\(path)` of type `\(one.name)`\n\n\(one.object.summary)\n"
        write(one.object, path: path)
      }
    case .map(let element, let rule):
      if !rule.reserved.isEmpty {
        text += "\nRefused in `\(path)`:\n\n"
        for (name, reason) in rule.reserved.sorted(by: { $0.key < $1.key }) { text += "- `\(name)`: \(reason)\n" }
      }
      writeSection(element, path: "\(path).<name>")
    case .array(let element, _): writeSection(element, path: "\(path)[]")
    default: break
    }
  }

  private func describe(_ kind: ValueKind) -> String {
    switch kind {
    case .string(let rule): rule.form ?? "string"
    case .path: "path"
    case .integer(let range): "whole number, \(bounds(range.lowerBound, range.upperBound) { "\($0)" })"
    case .number(let range):
      "number, \(ConfigurationValue.text(range.lowerBound)) to \(ConfigurationValue.text(range.upperBound))"
    case .boolean: "`true` or `false`"
    case .duration(let range): "duration, `\(Quantity.text(range.lowerBound))` to `\(Quantity.text(range.upperBound))`"
    case .size(let range): "size, \(bounds(range.lowerBound, range.upperBound) { "`\(Quantity.text(bytes: $0))`" })"
    case .enumeration(let cases): cases.filter(\.isBuilt).map { "`\($0.name)`" }.joined(separator: ", ")
    case .object: "object"
    case .array(let element, _): "array: \(describe(element))"
    case .map(let element, let rule): "object: \(rule.nameMeaning), with \(describe(element))"
    case .union(let declaration): "object, `type` " + declaration.cases.map { "`\($0.name)`" }.joined(separator: ", ")
    case .json: "any JSON"
    }
  }

  private func bounds(_ lower: Int, _ upper: Int, _ show: (Int) -> String) -> String {
    upper == .max ? "at least \(show(lower))" : "\(show(lower)) to \(show(upper))"
  }

  private func cases(_ kind: ValueKind) -> String? {
    guard case .enumeration(let cases) = kind else { return nil }
    return cases.map { " `\($0.name)`: \($0.summary)" + ($0.isBuilt ? "" : " (not built yet)") }.joined()
  }

  private func defaultText(_ field: FieldDeclaration) -> String {
    if field.isRequired { return "required" }
    if let meaning = field.defaultMeaning { return meaning }
    guard let value = field.defaultValue else { return "none" }
    if let members = value.members, members.isEmpty { return "" }
    return "`\(value.compactText)`"
  }

  private func escape(_ cell: String) -> String {
    cell.split(separator: "|", omittingEmptySubsequences: false).joined(separator: "\\|")
  }
}
