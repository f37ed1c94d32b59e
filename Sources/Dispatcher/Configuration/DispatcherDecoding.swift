import DatabusCore

extension DispatcherConfiguration {
  /// The dispatcher of a configuration that was loaded with the registry's section.
  ///
  /// - Returns: nil where the file has no section `dispatcher`.
  public init?(_ configuration: DatabusConfiguration, registry: DispatcherRegistry) {
    guard let section = configuration.sections["dispatcher"] else { return nil }
    self.init(section, configuration.pipeline, registry)
  }

  /// nil where the section was not checked.
  init?(_ section: ConfigurationObject, _ pipeline: PipelineConfiguration, _ registry: DispatcherRegistry) {
    let delivery = section.object("delivery")
    guard let deduplication = section.optionalObject("deduplication"), let store = deduplication.type,
      let mode = DispatchSettings.Mode(rawValue: delivery.string("mode"))
    else { return nil }
    let channels = ChannelChoice(section, pipeline, registry)
    transport = pipeline.results.transport
    self.deduplication = DeduplicationConfiguration(type: store, settings: deduplication)
    payloadBytes = delivery.size("payloadBytes")
    settings = DispatchSettings()
    settings.results = channels.streams.map { StreamReference(transport: pipeline.results.transport, stream: $0) }
    settings.mode = mode
    settings.memory = deduplication.duration("ttl")
    settings.withoutStore = DispatchSettings.WithoutStore(rawValue: deduplication.string("onUnavailable")) ?? .wait
    if section.boolean("rules") {
      settings.rules = .init(pipeline.rules.stream, schemes: Set(pipeline.results.streams.keys))
    }
    settings.slots = delivery.integer("slots")
    settings.queue = delivery.integer("queue")
    settings.retry = RetryPolicy(section.object("retry"))
    settings.breaker = BreakerPolicy(section.object("breaker"))
    let defaults = DeliverySettings().changed(by: delivery)
    settings.delivery = defaults
    settings.destinations = section.objects("destinations").compactMap { entry in
      guard case .success(let match) = DestinationMatch.parse(entry.string("match")) else { return nil }
      return (match, defaults.changed(by: entry))
    }
    secrets = Secrets(section.namedObjects("secrets").mapValues(Secrets.Secret.init))
    self.channels = channels.names.compactMap { name in
      section.object("channels").optionalObject(name).map { ChannelConfiguration(name: name, settings: $0) }
    }
    let deadLetters = section.object("deadLetters")
    self.deadLetters = StreamReference(
      transport: deadLetters.optionalString("transport") ?? pipeline.results.transport,
      stream: deadLetters.optionalString("stream") ?? "\(pipeline.name)-dispatcher-dead-letters")
    attempts = section.optionalObject("attempts").map { attempts in
      AttemptsConfiguration(
        path: attempts.string("path"), age: attempts.duration("age"), records: attempts.integer("records"))
    }
    drain = section.duration("drain")
  }
}

extension DispatchSettings {
  /// The retry streams of all results streams.
  public var retryStreams: [StreamReference] {
    streams(group: "").filter { $0.delay > .zero }.map(\.reference)
  }
}

/// Which results streams are read, and by which channels they are delivered.
struct ChannelChoice {
  /// Each once, in the file's order or sorted.
  var streams: [String]
  /// Of the channels: those that the streams need, and those that the file has settings for. In the registry's order.
  var names: [String]

  init(_ section: ConfigurationObject, _ pipeline: PipelineConfiguration, _ registry: DispatcherRegistry) {
    func channel(_ scheme: String) -> DeliveryChannelType? {
      registry.channel(forScheme: scheme).flatMap { section.object("channels")[$0.name] == nil ? nil : $0 }
    }
    let results = pipeline.results.streams
    var streams: [String] = []
    let candidates =
      section["streams"] == nil
      ? results.filter { channel($0.key) != nil }.map(\.value).sorted() : section.strings("streams")
    for stream in candidates where !streams.contains(stream) { streams.append(stream) }
    let needed = results.filter { streams.contains($0.value) }.compactMap { channel($0.key)?.name }
    self.streams = streams
    names = registry.channels.filter { type in
      needed.contains(type.name) || !type.isAlwaysThere && section.object("channels")[type.name] != nil
    }.map(\.name)
  }
}

extension DeliverySettings {
  /// With what an object of the declaration's `settings` says; what it does not have stays.
  func changed(by object: ConfigurationObject) -> DeliverySettings {
    var changed = self
    if let timeout = object.optionalDuration("timeout") { changed.timeout = timeout }
    if let concurrency = object.optionalInteger("concurrency") { changed.concurrency = concurrency }
    if let rate = object.optionalNumber("rate") { changed.rate = rate }
    if let format = object.optionalString("format").flatMap(Format.init) {
      changed.format = format
    }
    for (name, value) in object.stringMap("headers") {
      changed.headers.removeAll { $0.name.lowercased() == name.lowercased() }
      changed.headers.append(DeliveryHeader(name, value))
    }
    if let secret = object.optionalString("secret") {
      changed.signingSecret = secret == DispatcherDeclaration.noSecret ? nil : secret
    }
    if let authentication = object.optionalObject("auth") {
      changed.authentication = Authentication(authentication)
    }
    return changed
  }
}

extension DeliverySettings.Authentication {
  init(_ object: ConfigurationObject) {
    switch object.type {
    case "basic": self = .basic(username: object.string("username"), secret: object.string("secret"))
    case "bearer": self = .bearer(secret: object.string("secret"))
    default: self = .none
    }
  }

  /// The name of the secret that it needs.
  var secret: String? {
    switch self {
    case .none: nil
    case .basic(_, let secret), .bearer(let secret): secret
    }
  }
}

extension Secrets.Secret {
  init(_ object: ConfigurationObject) {
    self.init(
      values: object.optionalString("value").map { [$0] } ?? object.strings("values"),
      urls: object.strings("urls").compactMap { try? DestinationMatch.secretURL($0).get() })
  }
}

extension RetryPolicy {
  init(_ object: ConfigurationObject) {
    self.init()
    attempts = object.integer("attempts")
    age = object.duration("age")
    base = object.duration("base")
    cap = object.duration("cap")
    retryAfterCap = object.duration("retryAfterCap")
    inMemory = object.duration("inMemory")
    tiers = object.array("tiers").compactMap { element in
      if case .duration(let tier) = element.content { tier } else { nil }
    }
  }
}

extension BreakerPolicy {
  init(_ object: ConfigurationObject) {
    self.init()
    failures = object.integer("failures")
    share = object.integer("share")
    window = object.duration("window")
    minimum = object.integer("minimum")
    open = object.duration("open")
    maximumOpen = object.duration("maximumOpen")
    successes = object.integer("successes")
  }
}

extension ConfigurationObject {
  /// The elements of an array of objects.
  func objects(_ name: String) -> [ConfigurationObject] {
    array(name).compactMap { element in
      if case .object(let object) = element.content { object } else { nil }
    }
  }

  /// The entries of a map of objects.
  func namedObjects(_ name: String) -> [String: ConfigurationObject] {
    var objects: [String: ConfigurationObject] = [:]
    for (name, value) in map(name) {
      if case .object(let object) = value.content { objects[name] = object }
    }
    return objects
  }
}
