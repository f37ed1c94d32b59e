/// Finds, reads and checks a configuration file.
public struct ConfigurationLoader: Sendable {
  public var registry: ComponentRegistry
  public var environment: @Sendable (String) -> String?
  public var contents: @Sendable (String) throws(FileReadError) -> [UInt8]

  /// - Parameters:
  ///   - environment: the value of an environment variable; nil where it is not set.
  ///   - contents: the bytes of the file at a path.
  public init(
    registry: ComponentRegistry, environment: @escaping @Sendable (String) -> String?,
    contents: @escaping @Sendable (String) throws(FileReadError) -> [UInt8] = FileReading.contents
  ) {
    self.registry = registry
    self.environment = environment
    self.contents = contents
  }

  /// `--config`, else `$DATABUS_CONFIG`, else `databus.json` in the working directory.
  public func path(option: String?) -> String {
    if let option { return option }
    if let variable = environment("DATABUS_CONFIG"), !variable.isEmpty { return variable }
    return "databus.json"
  }

  /// Reads and checks the file at `path`.
  ///
  /// - Throws: `ConfigurationError` with everything that is wrong.
  public func load(path: String) throws(ConfigurationError) -> DatabusConfiguration {
    let bytes: [UInt8]
    do throws(FileReadError) {
      bytes = try contents(path)
    } catch {
      throw ConfigurationError([
        Diagnostic(
          .unreadable, file: path, line: 0, column: 0, pointer: "",
          message: "the configuration cannot be read: \(error.reason)",
          hint: "name it with --config FILE or $DATABUS_CONFIG; without them it is ./databus.json")
      ])
    }
    return try load(SourceText(name: path, bytes: bytes), directory: FilePaths.directory(of: path))
  }

  /// Checks a configuration that is at hand.
  ///
  /// - Parameter directory: what relative paths are relative to.
  /// - Throws: `ConfigurationError` with everything that is wrong.
  public func load(_ source: SourceText, directory: String = ".") throws(ConfigurationError) -> DatabusConfiguration {
    var decoder = ConfigurationDecoder(
      source: source,
      substitution: Substitution(directory: directory, environment: environment, contents: contents),
      directory: directory)
    guard let tree = decoder.parse() else { throw ConfigurationError(decoder.ordered) }
    let parts = decoder.decodeParts(tree, as: ConfigurationDeclaration.root(registry))
    let references = ReferenceCheck(tree: tree, registry: registry)
    references.check(decoder.diagnostics.isEmpty ? parts : nil, &decoder)
    let configuration = decoder.diagnostics.isEmpty ? parts.flatMap { references.typed($0, directory) } : nil
    if let parts {
      let context = SectionContext(
        transportNames: references.transportNames, configuration: configuration, registry: registry)
      check(sectionsOf: parts, context, &decoder)
    }
    guard decoder.diagnostics.isEmpty, let configuration else { throw ConfigurationError(decoder.ordered) }
    return configuration
  }

  /// Each registered section that is as declared is checked, so that its problems are told together with those of the others.
  private func check(
    sectionsOf root: ConfigurationObject, _ context: SectionContext, _ decoder: inout ConfigurationDecoder
  ) {
    for section in registry.sections {
      guard case .object(let object)? = root[section.name]?.content, decoder.isSound(object.pointer) else { continue }
      for problem in section.check(object, context) {
        decoder.report(problem.kind, at: problem.offset, problem.pointer, problem.message, hint: problem.hint)
      }
    }
  }
}
