/// What `${...}` in strings of the configuration stands for.
public struct Substitution: Sendable {
  /// The value of an environment variable; nil where it is not set.
  public var environment: @Sendable (String) -> String?
  /// The contents of the file at an absolute path.
  public var contents: @Sendable (String) throws(FileReadError) -> [UInt8]
  /// What a relative path in `${file:...}` is relative to.
  public var directory: String

  public init(
    directory: String, environment: @escaping @Sendable (String) -> String?,
    contents: @escaping @Sendable (String) throws(FileReadError) -> [UInt8]
  ) {
    self.directory = directory
    self.environment = environment
    self.contents = contents
  }

  /// A string with its references resolved.
  struct Result: Equatable {
    var text: String
    /// Part of it was read from a file: it is never shown.
    var isSecret: Bool
    var hasReferences: Bool
  }

  struct Failure: Error, Equatable {
    var message: String
    var hint: String
  }

  /// `${NAME}`, `${NAME:-default}`, `${file:/path}`; `$${` stands for `${` itself.
  func resolve(_ text: String) throws(Failure) -> Result {
    guard text.utf8.contains(UInt8(ascii: "$")) else {
      return Result(text: text, isSecret: false, hasReferences: false)
    }
    let bytes = Array(text.utf8)
    var output: [UInt8] = []
    var isSecret = false
    var hasReferences = false
    var place = 0
    while place < bytes.count {
      if bytes[place...].starts(with: Array("$${".utf8)) {
        output += Array("${".utf8)
        place += 3
      } else if bytes[place...].starts(with: Array("${".utf8)) {
        guard let end = bytes[place...].firstIndex(of: UInt8(ascii: "}")) else {
          throw Failure(
            message: "a \"${\" without its \"}\"",
            hint: "close it, or write \"$${\" where the text itself is meant")
        }
        let (value, secret) = try resolve(reference: String(decoding: bytes[(place + 2)..<end], as: UTF8.self))
        output += value
        isSecret = isSecret || secret
        hasReferences = true
        place = end + 1
      } else {
        output.append(bytes[place])
        place += 1
      }
    }
    return Result(text: String(decoding: output, as: UTF8.self), isSecret: isSecret, hasReferences: hasReferences)
  }

  private func resolve(reference: String) throws(Failure) -> (value: [UInt8], isSecret: Bool) {
    if reference.hasPrefix("file:") {
      let path = FilePaths.resolve(String(reference.dropFirst(5)), in: directory)
      do throws(FileReadError) {
        var bytes = try contents(path)
        // Editors and `echo` end a file with a newline that is not part of the secret.
        if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
        if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
        guard String(validating: bytes, as: UTF8.self) != nil else {
          throw FileReadError(reason: "it is not text (UTF-8)")
        }
        return (bytes, true)
      } catch {
        throw Failure(
          message: "the file \(path) cannot be read: \(error.reason)",
          hint: "\"${file:...}\" is replaced by the contents of that file")
      }
    }
    let (name, fallback) = splitFallback(reference)
    guard isVariableName(name) else {
      throw Failure(
        message: "\"${\(name)}\" does not name an environment variable",
        hint: "use ${NAME}, ${NAME:-default} or ${file:/path}; write \"$${\" where the text itself is meant")
    }
    if let value = environment(name), !(value.isEmpty && fallback != nil) { return (Array(value.utf8), false) }
    if let fallback { return (Array(fallback.utf8), false) }
    throw Failure(
      message: "the environment variable \(name) is not set",
      hint: "set it, or give a default: ${\(name):-default}")
  }

  private func splitFallback(_ reference: String) -> (name: String, fallback: String?) {
    let bytes = Array(reference.utf8)
    for index in bytes.indices.dropLast() where bytes[index] == 0x3A && bytes[index + 1] == 0x2D {  // :-
      return (
        String(decoding: bytes[..<index], as: UTF8.self), String(decoding: bytes[(index + 2)...], as: UTF8.self)
      )
    }
    return (reference, nil)
  }

  private func isVariableName(_ name: String) -> Bool {
    guard let first = name.utf8.first, !(48...57).contains(first) else { return false }
    return name.utf8.allSatisfy {
      (48...57).contains($0) || (65...90).contains($0) || (97...122).contains($0) || $0 == UInt8(ascii: "_")
    }
  }
}
