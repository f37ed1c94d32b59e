import Testing

@testable import RedisClient

@Suite struct RedisEndpointTests {
  static let urls: [(url: String, expected: RedisEndpoint)] = [
    ("redis://localhost", RedisEndpoint(.tcp(host: "localhost", port: 6379))),
    ("redis://localhost:6380/2", RedisEndpoint(.tcp(host: "localhost", port: 6380), database: 2)),
    ("redis://10.0.0.1/", RedisEndpoint(.tcp(host: "10.0.0.1", port: 6379))),
    ("redis://:secret@h", RedisEndpoint(.tcp(host: "h", port: 6379), password: "secret")),
    ("redis://user:secret@h:1", RedisEndpoint(.tcp(host: "h", port: 1), username: "user", password: "secret")),
    ("redis://u:a%40b%2Fc%25@h", RedisEndpoint(.tcp(host: "h", port: 6379), username: "u", password: "a@b/c%")),
    ("redis://u:a@b:c@h", RedisEndpoint(.tcp(host: "h", port: 6379), username: "u", password: "a@b:c")),
    ("redis://[::1]:7000/1", RedisEndpoint(.tcp(host: "::1", port: 7000), database: 1)),
    ("redis://[fe80::1]", RedisEndpoint(.tcp(host: "fe80::1", port: 6379))),
    ("unix:///run/redis/s", RedisEndpoint(.unix(path: "/run/redis/s"))),
    ("unix:///run/a%20b?db=3", RedisEndpoint(.unix(path: "/run/a b"), database: 3)),
    ("unix://u:p@/run/s", RedisEndpoint(.unix(path: "/run/s"), username: "u", password: "p")),
  ]

  @Test(arguments: urls)
  func aURLIsRead(_ one: (url: String, expected: RedisEndpoint)) throws {
    let found = try RedisEndpoint(url: one.url)
    #expect(found.address == one.expected.address)
    #expect(found.username == one.expected.username)
    #expect(found.password == one.expected.password)
    #expect(found.database == one.expected.database)
  }

  @Test(arguments: [
    ("localhost:6379", "is no URL"), ("http://h", "another scheme"), ("Redis://h", "another scheme"),
    ("rediss://h", "stunnel"), ("redis://", "no host"),
    ("redis://h:0", "port"), ("redis://h:65536", "port"), ("redis://h:secret", "port"), ("redis://h/x", "database"),
    ("redis://h/-1", "database"), ("redis://::1", "brackets"), ("redis://[::1", "bracket"), ("redis://[::1]7", "port"),
    ("redis://:pass word@h", "space"), ("redis://:p%zz@h", "%25"), ("redis://:p%0@h", "%25"), ("redis://:p#@h", "%23"),
    ("redis://:p%00@h", "%25"), ("redis://:%ff@h", "UTF-8"), ("unix://run/s", "three slashes"),
    ("unix:///", "absolute"),
    ("unix:///s?database=1", "db"), ("unix:///" + String(repeating: "x", count: 108), "107 bytes"), ("", "is no URL"),
  ])
  func whatIsNoURLIsRefusedWithItsReason(_ url: String, _ part: String) {
    do {
      let found = try RedisEndpoint(url: url)
      Issue.record("\(url) was read as \(found)")
    } catch {
      #expect(error.description.contains(part), "\(error)")
    }
  }

  @Test func aPasswordIsNeverShown() throws {
    for url in ["redis://user:hush@h:1/2", "unix://:hush@/s?db=2"] {
      let endpoint = try RedisEndpoint(url: url)
      var dumped = ""
      dump(endpoint, to: &dumped)
      dump(RedisConnection.Options(endpoint), to: &dumped)
      for text in ["\(endpoint)", String(reflecting: endpoint), String(describing: [endpoint]), dumped] {
        #expect(!text.contains("hush") && !text.contains("user"), "\(text)")
      }
    }
    #expect(try RedisEndpoint(url: "redis://user:hush@[::1]:1/2").description == "redis://[::1]:1/2")
    #expect(try RedisEndpoint(url: "unix://:hush@/s?db=2").description == "unix:///s?db=2")
    // Nor where the URL is refused.
    for url in ["redis://user:hush@h:hush", "redis://user:hush@", "rediss://user:hush@h", "redis://user:hu#sh@h/hush"] {
      do { _ = try RedisEndpoint(url: url) } catch { #expect(!error.description.contains("hush"), "\(error)") }
    }
  }
}
