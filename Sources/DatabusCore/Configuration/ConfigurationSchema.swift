/// JSON Schema (2020-12) from the declarations that decode: for editors, and for checks without this program.
public enum ConfigurationSchema {
  /// The schema of the configuration file, with a newline at its end.
  public static func json(_ registry: ComponentRegistry) -> String {
    text(
      of: ConfigurationDeclaration.root(registry), title: "Databus configuration", substitutes: true)
  }

  /// The schema of a rule, with a newline at its end.
  public static func ruleJSON() -> String {
    let declaration = RuleDeclaration.object
    var members: [(String, JSONValue)] = [
      ("$schema", "https://json-schema.org/draft/2020-12/schema"), ("title", "Databus rule"),
    ]
    members += SchemaWriter(substitutes: false).object(declaration).filter { $0.0 != "required" }
    // A record that deletes a rule needs nothing but its name.
    let required = declaration.fields.filter(\.isRequired).map { JSONValue(.string($0.name)) }
    members += [
      ("required", ["ruleId"]),
      ("if", ["properties": ["deleted": ["const": true]], "required": ["deleted"]]),
      ("else", ["required": JSONValue(.array(required))]),
    ]
    return JSONValue(members: members).prettyText + "\n"
  }

  /// The schema of any declared object, with a newline at its end.
  ///
  /// - Parameter substitutes: `${...}` may stand in strings, also for values of other kinds.
  public static func text(of declaration: ObjectDeclaration, title: String, substitutes: Bool) -> String {
    let writer = SchemaWriter(substitutes: substitutes)
    var members: [(String, JSONValue)] = [
      ("$schema", "https://json-schema.org/draft/2020-12/schema"), ("title", JSONValue(.string(title))),
    ]
    members += writer.object(declaration)
    if substitutes {
      members.append(
        (
          "$defs",
          [
            "substitution": [
              "description": "${ENV_VAR}, ${ENV_VAR:-default} or ${file:/path}", "type": "string",
              "pattern": "\\$\\{[^}]*\\}",
            ]
          ]
        ))
    }
    return JSONValue(members: members).prettyText + "\n"
  }
}

private struct SchemaWriter {
  var substitutes: Bool

  func object(_ declaration: ObjectDeclaration, type: String? = nil) -> [(String, JSONValue)] {
    var properties: [(String, JSONValue)] = []
    var required: [JSONValue] = []
    if let type {
      properties.append(("type", ["const": JSONValue(.string(type))]))
      required.append("type")
    }
    for field in declaration.fields {
      if field.isBuilt {
        properties.append((field.name, self.field(field)))
        if field.isRequired { required.append(JSONValue(.string(field.name))) }
      } else if declaration.acceptsUnknown {
        // Not declared, it would pass with anything in it.
        let description = JSONValue(.string("\(field.summary) Not built yet: empty or left out."))
        properties.append((field.name, ["description": description, "enum": [JSONValue(.null), [], [:]]]))
      }
    }
    var members: [(String, JSONValue)] = [("type", "object")]
    if !declaration.summary.isEmpty { members.insert(("description", JSONValue(.string(declaration.summary))), at: 0) }
    members.append(("properties", JSONValue(members: properties)))
    if !required.isEmpty { members.append(("required", JSONValue(.array(required)))) }
    if !declaration.acceptsUnknown { members.append(("additionalProperties", false)) }
    return members
  }

  private func field(_ field: FieldDeclaration) -> JSONValue {
    var description = field.summary
    if let meaning = field.defaultMeaning { description += " Default: \(meaning)." }
    var members = value(field.kind)
    if field.acceptsNull { members = [("anyOf", [JSONValue(members: members), ["type": "null"]])] }
    members.removeAll { $0.0 == "description" }
    members.insert(("description", JSONValue(.string(description))), at: 0)
    if let value = field.defaultValue { members.append(("default", value)) }
    if let example = field.example { members.append(("examples", [example])) }
    return JSONValue(members: members)
  }

  private func value(_ kind: ValueKind) -> [(String, JSONValue)] {
    switch kind {
    case .string(let rule):
      let plain = string(rule)
      return plain.count > 1 ? orSubstitution(plain) : plain
    case .path: return [("type", "string"), ("minLength", 1)]
    case .integer(let range):
      return orSubstitution([
        ("type", "integer"), ("minimum", JSONValue(integerLiteral: range.lowerBound)),
        ("maximum", JSONValue(integerLiteral: range.upperBound)),
      ])
    case .number(let range):
      return orSubstitution([
        ("type", "number"), ("minimum", JSONValue(.number(ConfigurationValue.text(range.lowerBound)))),
        ("maximum", JSONValue(.number(ConfigurationValue.text(range.upperBound)))),
      ])
    case .boolean: return orSubstitution([("type", "boolean")])
    case .duration: return orSubstitution(pattern(Quantity.durationPattern))
    case .size(let range):
      let number: JSONValue = [
        "type": "integer", "minimum": JSONValue(integerLiteral: range.lowerBound),
        "maximum": JSONValue(integerLiteral: range.upperBound),
      ]
      return [
        ("anyOf", JSONValue(.array([JSONValue(members: pattern(Quantity.sizePattern)), number] + substitution)))
      ]
    case .enumeration(let cases):
      let names = cases.filter(\.isBuilt).map { JSONValue(.string($0.name)) }
      return orSubstitution([("enum", JSONValue(.array(names)))])
    case .object(let declaration): return object(declaration)
    case .array(let element, let count):
      var members: [(String, JSONValue)] = [("type", "array"), ("items", JSONValue(members: value(element)))]
      if count.lowerBound > 0 { members.append(("minItems", JSONValue(integerLiteral: count.lowerBound))) }
      if count.upperBound < .max { members.append(("maxItems", JSONValue(integerLiteral: count.upperBound))) }
      return members
    case .map(let element, let rule): return map(element, rule)
    case .union(let declaration):
      return [
        ("oneOf", JSONValue(.array(declaration.cases.map { JSONValue(members: object($0.object, type: $0.name)) })))
      ]
    case .json: return []
    }
  }

  private func map(_ element: ValueKind, _ rule: MapRule) -> [(String, JSONValue)] {
    var members: [(String, JSONValue)] = [
      ("type", "object"), ("additionalProperties", JSONValue(members: value(element))),
    ]
    if !rule.reserved.isEmpty {
      let names = rule.reserved.keys.sorted().map { JSONValue(.string($0)) }
      members.append(("propertyNames", ["not": ["enum": JSONValue(.array(names))]]))
    }
    if rule.count.lowerBound > 0 { members.append(("minProperties", JSONValue(integerLiteral: rule.count.lowerBound))) }
    if rule.count.upperBound < .max {
      members.append(("maxProperties", JSONValue(integerLiteral: rule.count.upperBound)))
    }
    return members
  }

  private func string(_ rule: StringRule) -> [(String, JSONValue)] {
    var members: [(String, JSONValue)] = [("type", "string")]
    // The schema counts characters, the decoder bytes: a bound on bytes bounds characters too, the other way only 1 does.
    if rule.length.lowerBound > 0 { members.append(("minLength", 1)) }
    if rule.length.upperBound < .max {
      members.append(("maxLength", JSONValue(integerLiteral: rule.length.upperBound)))
    }
    if let pattern = rule.pattern { members.append(("pattern", JSONValue(.string(pattern)))) }
    return members
  }

  private func pattern(_ text: String) -> [(String, JSONValue)] {
    [("type", "string"), ("pattern", JSONValue(.string(text)))]
  }

  private var substitution: [JSONValue] { substitutes ? [["$ref": "#/$defs/substitution"]] : [] }

  private func orSubstitution(_ members: [(String, JSONValue)]) -> [(String, JSONValue)] {
    substitutes ? [("anyOf", JSONValue(.array([JSONValue(members: members)] + substitution)))] : members
  }
}
