import CRdkafka

/// Permissions on a cluster that has an authorizer, granted and taken away by somebody who may.
public final class AccessControl: @unchecked Sendable {
  // Sendable: librdkafka's handles are safe on any thread, and nothing else is kept.
  private let client: OpaquePointer

  public enum Resource {
    case topic(String)
    case group(String)
    case cluster
  }

  public enum Operation: Sendable {
    case read
    case write
    case create
    case describe
    case describeConfigurations
    case alterConfigurations
  }

  /// - Parameter servers: a listener that needs no login, whose user is one of `super.users`.
  public init(_ servers: String) throws {
    let configuration = rd_kafka_conf_new()
    var text = [CChar](repeating: 0, count: 512)
    rd_kafka_conf_set(configuration, "bootstrap.servers", servers, &text, text.count)
    guard let client = rd_kafka_new(RD_KAFKA_PRODUCER, configuration, &text, text.count) else {
      throw KafkaCluster.Failure(message: "no client")
    }
    self.client = client
  }

  deinit { rd_kafka_destroy(client) }

  /// Lets a user do something from now on.
  public func grant(_ user: String, _ operation: Operation, on resource: Resource) throws {
    try change(user, operation, resource, RD_KAFKA_ADMIN_OP_CREATEACLS, rd_kafka_AclBinding_new) {
      binding, options, queue in
      var bindings: [OpaquePointer?] = [binding]
      rd_kafka_CreateAcls(self.client, &bindings, 1, options, queue)
    }
  }

  /// Takes a permission away that was granted.
  public func revoke(_ user: String, _ operation: Operation, on resource: Resource) throws {
    try change(user, operation, resource, RD_KAFKA_ADMIN_OP_DELETEACLS, rd_kafka_AclBindingFilter_new) {
      binding, options, queue in
      var bindings: [OpaquePointer?] = [binding]
      rd_kafka_DeleteAcls(self.client, &bindings, 1, options, queue)
    }
  }

  private typealias Maker = (
    rd_kafka_ResourceType_t, UnsafePointer<CChar>?, rd_kafka_ResourcePatternType_t, UnsafePointer<CChar>?,
    UnsafePointer<CChar>?, rd_kafka_AclOperation_t, rd_kafka_AclPermissionType_t, UnsafeMutablePointer<CChar>?, Int
  ) -> OpaquePointer?

  private func change(
    _ user: String, _ operation: Operation, _ resource: Resource, _ kind: rd_kafka_admin_op_t, _ make: Maker,
    _ call: (OpaquePointer, OpaquePointer?, OpaquePointer?) -> Void
  ) throws {
    var text = [CChar](repeating: 0, count: 512)
    guard
      let binding = make(
        resource.type, resource.name, RD_KAFKA_RESOURCE_PATTERN_LITERAL, "User:\(user)", "*", operation.code,
        RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, &text, text.count)
    else { throw KafkaCluster.Failure(message: "no such permission") }
    let queue = rd_kafka_queue_new(client)
    let options = rd_kafka_AdminOptions_new(client, kind)
    defer {
      rd_kafka_AclBinding_destroy(binding)
      rd_kafka_AdminOptions_destroy(options)
      rd_kafka_queue_destroy(queue)
    }
    call(binding, options, queue)
    guard let event = rd_kafka_queue_poll(queue, 30_000) else {
      throw KafkaCluster.Failure(message: "no answer about a permission")
    }
    defer { rd_kafka_event_destroy(event) }
    guard rd_kafka_event_error(event) == RD_KAFKA_RESP_ERR_NO_ERROR else {
      throw KafkaCluster.Failure(message: String(cString: rd_kafka_event_error_string(event)))
    }
    var count = 0
    guard kind == RD_KAFKA_ADMIN_OP_CREATEACLS, let result = rd_kafka_event_CreateAcls_result(event),
      let list = rd_kafka_CreateAcls_result_acls(result, &count)
    else { return }
    for place in 0..<count {
      if let error = rd_kafka_acl_result_error(list[place]) {
        throw KafkaCluster.Failure(message: String(cString: rd_kafka_error_string(error)))
      }
    }
  }
}

extension AccessControl.Resource {
  fileprivate var type: rd_kafka_ResourceType_t {
    switch self {
    case .topic: RD_KAFKA_RESOURCE_TOPIC
    case .group: RD_KAFKA_RESOURCE_GROUP
    case .cluster: RD_KAFKA_RESOURCE_BROKER
    }
  }

  fileprivate var name: String {
    switch self {
    case .topic(let name), .group(let name): name
    case .cluster: "kafka-cluster"
    }
  }
}

extension AccessControl.Operation {
  fileprivate var code: rd_kafka_AclOperation_t {
    switch self {
    case .read: RD_KAFKA_ACL_OPERATION_READ
    case .write: RD_KAFKA_ACL_OPERATION_WRITE
    case .create: RD_KAFKA_ACL_OPERATION_CREATE
    case .describe: RD_KAFKA_ACL_OPERATION_DESCRIBE
    case .describeConfigurations: RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS
    case .alterConfigurations: RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS
    }
  }
}
