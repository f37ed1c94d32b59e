import DatabusCore

/// Checks what the declaration of the section `dispatcher` cannot: what its members say of one another.
struct DispatcherCheck {
  let section: ConfigurationObject
  let context: SectionContext
  let registry: DispatcherRegistry

  func problems() -> [SectionProblem] {
    var problems = retryProblems() + deliveryProblems() + secretProblems() + destinationProblems()
    if let store = section.optionalObject("deduplication"), store.optionalString("onUnavailable") == "send",
      section.object("delivery").string("mode") == DispatchSettings.Mode.atMostOnce.rawValue
    {
      problems.append(
        SectionProblem(
          .invalidValue, at: "onUnavailable", of: store,
          "what is sent while the store is away may be sent again, and \"delivery.mode\" is \"at-most-once\"",
          hint: "use \"wait\" here, or the mode \"at-least-once\""))
    }
    let deadLetters = section.object("deadLetters")
    if let name = deadLetters.optionalString("transport"), !context.transportNames.contains(name) {
      problems.append(
        SectionProblem(
          .unknownReference, at: "transport", of: deadLetters, "there is no transport \"\(name)\" in \"transports\"",
          hint: Spelling.hint(for: name, among: context.transportNames)))
    }
    if let configuration = context.configuration {
      problems += DispatcherStreamCheck(
        section: section, configuration: configuration, context: context, registry: registry
      ).problems()
    }
    return problems
  }

  // MARK: Retries and breaker

  private func retryProblems() -> [SectionProblem] {
    let object = section.object("retry")
    let retry = RetryPolicy(object)
    var problems: [SectionProblem] = []
    if retry.base > retry.cap {
      problems.append(
        SectionProblem(
          .invalidValue, at: "base", of: object,
          "the first wait, \(Quantity.text(retry.base)), is longer than the longest, \(Quantity.text(retry.cap))",
          hint: "make \"base\" shorter, or \"cap\" longer"))
    }
    for (index, tier) in object.array("tiers").enumerated() {
      guard let wait = retry.tiers.indices.contains(index) ? retry.tiers[index] : nil else { continue }
      if index > 0, wait <= retry.tiers[index - 1] {
        problems.append(
          SectionProblem(
            .invalidValue, at: tier.offset, tier.pointer,
            "\(Quantity.text(wait)) is not longer than \(Quantity.text(retry.tiers[index - 1])), which stands "
              + "before it",
            hint: "write the waits in ascending order, each once"))
      } else if index == 0, wait <= retry.inMemory {
        problems.append(
          SectionProblem(
            .invalidValue, at: tier.offset, tier.pointer,
            "waits up to \(Quantity.text(retry.inMemory)) pass in memory, so that a retry stream of "
              + "\(Quantity.text(wait)) has none",
            hint: "make the wait longer than \"inMemory\", or \"inMemory\" shorter"))
      }
    }
    let breaker = section.object("breaker")
    if breaker.duration("open") > breaker.duration("maximumOpen") {
      problems.append(
        SectionProblem(
          .invalidValue, at: "open", of: breaker,
          "the breaker stays open for \(Quantity.text(breaker.duration("open"))) at first, longer than the longest, "
            + "\(Quantity.text(breaker.duration("maximumOpen")))",
          hint: "make \"open\" shorter, or \"maximumOpen\" longer"))
    }
    return problems
  }

  // MARK: Deliveries

  private func deliveryProblems() -> [SectionProblem] {
    let delivery = section.object("delivery")
    let quarter = delivery.integer("slots") / 4
    var problems: [SectionProblem] = []
    for object in [delivery] + section.objects("destinations") {
      if let concurrency = object.optionalInteger("concurrency"), concurrency > quarter {
        problems.append(
          SectionProblem(
            .invalidValue, at: "concurrency", of: object,
            "one destination gets no more than a quarter of all \(delivery.integer("slots")) attempts at a time: "
              + "\(quarter)",
            hint: "at most \(quarter) is permitted here; or raise \"delivery.slots\""))
      }
      var names: [String: String] = [:]
      for (name, value) in object.map("headers") {
        if let other = names.updateValue(name, forKey: name.lowercased()) {
          problems.append(
            SectionProblem(
              .invalidValue, at: value.offset, value.pointer,
              "\"\(name)\" is the same header as \"\(other)\": their names have no case",
              hint: "remove one of the two"))
        }
      }
    }
    return problems
  }

  private func secretProblems() -> [SectionProblem] {
    let secrets = section.namedObjects("secrets")
    var problems: [SectionProblem] = []
    for (name, value) in section.map("secrets") {
      guard let secret = secrets[name] else { continue }
      if name.isEmpty || name == DispatcherDeclaration.noSecret {
        problems.append(
          SectionProblem(
            .reservedName, at: value.offset, value.pointer,
            name.isEmpty ? "a secret has no name" : "\"\(name)\" cannot be set: it says that there is no secret",
            hint: "give it another name"))
      }
      switch (secret["value"], secret["values"]) {
      case (nil, nil):
        problems.append(
          SectionProblem(
            .missing, at: "value", of: secret, "\"value\" is missing",
            hint: "write \"value\": \"${file:/run/secrets/...}\", or \"values\" while it is replaced"))
      case (.some, .some(let values)):
        problems.append(
          SectionProblem(
            .invalidValue, at: values.offset, values.pointer, "\"value\" stands beside \"values\"",
            hint: "write all of them into \"values\", the current one first"))
      default: break
      }
    }
    let delivery = section.object("delivery")
    problems += signingProblems(secrets, delivery)
    problems += referenceProblems(delivery, secrets, match: nil)
    for entry in section.objects("destinations") {
      guard case .success(let match) = DestinationMatch.parse(entry.string("match")) else { continue }
      problems += referenceProblems(entry, secrets, match: match)
      problems += inheritanceProblems(entry, delivery, secrets, match)
    }
    return problems
  }

  /// Secrets that sign and are no keys: those that the configuration signs with, and those that are written as keys, which rules may
  /// sign with.
  private func signingProblems(
    _ secrets: [String: ConfigurationObject], _ delivery: ConfigurationObject
  ) -> [SectionProblem] {
    let signing = Set(([delivery] + section.objects("destinations")).compactMap { $0.optionalString("secret") })
      .subtracting([DispatcherDeclaration.noSecret])
    return secrets.sorted { $0.key < $1.key }.flatMap { name, secret in
      ([secret["value"]].compactMap { $0 } + secret.array("values")).compactMap { value in
        guard case .string(let text) = value.content,
          signing.contains(name) || text.hasPrefix(WebhookSignature.secretPrefix),
          let problem = WebhookSignature.problem(with: text)
        else { return nil }
        return SectionProblem(
          .invalidValue, at: value.offset, value.pointer, "the signing secret \"\(name)\" \(problem)",
          hint: "for a new one: echo \"whsec_$(openssl rand -base64 32)\"")
      }
    }
  }

  /// Where an object of `settings` names secrets: the object, its member, and the name.
  private func references(_ object: ConfigurationObject) -> [(object: ConfigurationObject, name: String)] {
    var references: [(ConfigurationObject, String)] = []
    if let name = object.optionalString("secret"), name != DispatcherDeclaration.noSecret {
      references.append((object, name))
    }
    if let auth = object.optionalObject("auth"), let name = DeliverySettings.Authentication(auth).secret {
      references.append((auth, name))
    }
    return references
  }

  private func referenceProblems(
    _ object: ConfigurationObject, _ secrets: [String: ConfigurationObject], match: DestinationMatch?
  ) -> [SectionProblem] {
    references(object).compactMap { owner, name in
      guard let secret = secrets[name] else {
        return SectionProblem(
          .unknownReference, at: "secret", of: owner, "there is no secret \"\(name)\" in \"dispatcher.secrets\"",
          hint: Spelling.hint(for: name, among: secrets.keys.sorted()) ?? "add it to \"dispatcher.secrets\"")
      }
      guard let match, !maySend(secret, to: match) else { return nil }
      return SectionProblem(
        .invalidValue, at: "secret", of: owner, "the secret \"\(name)\" may not be sent to \"\(match)\"",
        hint: "add the beginning of these URLs to \"dispatcher.secrets.\(name).urls\", or name another secret")
    }
  }

  private func maySend(_ secret: ConfigurationObject, to match: DestinationMatch) -> Bool {
    switch Secrets(["": Secrets.Secret(secret)]).secret("", for: match.example) {
    case .success: true
    case .failure: false
    }
  }

  /// A destination that takes a secret over from `delivery` which may not be sent there.
  private func inheritanceProblems(
    _ entry: ConfigurationObject, _ delivery: ConfigurationObject, _ secrets: [String: ConfigurationObject],
    _ match: DestinationMatch
  ) -> [SectionProblem] {
    references(delivery).compactMap { owner, name in
      let member = owner.pointer == delivery.pointer ? "secret" : "auth"
      guard entry[member] == nil, let secret = secrets[name], !maySend(secret, to: match) else {
        return nil
      }
      return SectionProblem(
        .invalidValue, at: "match", of: entry,
        "the secret \"\(name)\" of \"dispatcher.delivery\" may not be sent to \"\(match)\"",
        hint: member == "secret"
          ? "write \"secret\": \"none\" here, or another secret; or add to \"dispatcher.secrets.\(name).urls\""
          : "write \"auth\": {\"type\": \"none\"} here, or another; or add to \"dispatcher.secrets.\(name).urls\"")
    }
  }

  private func destinationProblems() -> [SectionProblem] {
    var problems: [SectionProblem] = []
    var earlier: [DestinationMatch] = []
    for entry in section.objects("destinations") {
      guard case .success(let match) = DestinationMatch.parse(entry.string("match")) else { continue }
      if let first = earlier.first(where: { $0.covers(match) }) {
        problems.append(
          SectionProblem(
            .invalidValue, at: "match", of: entry,
            "this entry never counts: \"\(first)\", which stands before it, matches all that it does",
            hint: first == match ? "remove one of the two" : "move it before that entry"))
      }
      earlier.append(match)
      let channel = registry.channel(forScheme: match.scheme)
      if channel == nil || channel.map({ section.object("channels")[$0.name] == nil }) == true {
        problems.append(DispatcherCheck.noChannel(match.scheme, at: "match", of: entry, channel, registry))
      }
    }
    return problems
  }

  /// - Parameter channel: the one that would deliver if it had settings.
  static func noChannel(
    _ scheme: String, at member: String, of object: ConfigurationObject, _ channel: DeliveryChannelType?,
    _ registry: DispatcherRegistry, _ what: String = ""
  ) -> SectionProblem {
    let schemes = registry.channels.flatMap(\.schemes)
    return SectionProblem(
      .unsupported, at: member, of: object, "no channel delivers to \"\(scheme)\" URLs\(what)",
      hint: channel.map { "give it its settings: \"dispatcher.channels.\($0.name)\"" }
        ?? (schemes.isEmpty
          ? "this program has no channel"
          : "those of this program deliver to \(schemes.map { "\"\($0)\"" }.joined(separator: ", "))"))
  }
}
