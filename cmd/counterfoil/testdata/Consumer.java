import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.regex.Pattern;
import java.util.stream.Collectors;

/**
 * What an integrator writes with java.net.http, by each provider's guide. Its
 * arguments are the provider and a stale token. It prints what is answered.
 */
class Consumer {
    static final Map<String, String> env = System.getenv();
    static final HttpClient http = HttpClient.newBuilder().connectTimeout(Duration.ofSeconds(30)).build();
    static String provider;
    static String token;

    public static void main(String[] args) throws Exception {
        provider = args[0];
        fetchToken();
        String id = member(list(), "id");
        System.out.println("list " + id);
        System.out.println("one " + member(one(id), "id"));
        token = args[1];
        System.out.println("one " + member(one(id), "id"));
    }

    static void fetchToken() throws Exception {
        HttpRequest.Builder request;
        if (provider.equals("altrata")) {
            String basic = env.get("API_USERNAME") + ":" + env.get("API_PASSWORD");
            request = HttpRequest.newBuilder(URI.create(env.get("AUTH_URL") + "?grant_type=client_credentials"))
                    .header("x-api-key", env.get("API_KEY"))
                    .header("Authorization", "Basic " + Base64.getEncoder().encodeToString(basic.getBytes(StandardCharsets.UTF_8)))
                    .POST(HttpRequest.BodyPublishers.noBody());
        } else {
            boolean engagifii = provider.equals("engagifii");
            Map<String, String> form = new LinkedHashMap<>();
            form.put("grant_type", "client_credentials");
            form.put("client_id", env.get(engagifii ? "CLIENT_ID" : "API_CLIENT_ID"));
            form.put("client_secret", env.get(engagifii ? "CLIENT_SECRET" : "API_CLIENT_SECRET"));
            if (engagifii) form.put("scope", "EventsApi");
            if (provider.equals("ahotu")) form.put("scope", env.get("API_SCOPE"));
            String body = form.entrySet().stream()
                    .map(e -> e.getKey() + "=" + URLEncoder.encode(e.getValue(), StandardCharsets.UTF_8))
                    .collect(Collectors.joining("&"));
            request = HttpRequest.newBuilder(URI.create(engagifii ? env.get("IDENTITY_SERVER_URL") + "/connect/token" : env.get("AUTH_URL")))
                    .header("Content-Type", "application/x-www-form-urlencoded")
                    .POST(HttpRequest.BodyPublishers.ofString(body));
        }
        HttpResponse<String> answer = http.send(request.timeout(Duration.ofSeconds(30)).build(), HttpResponse.BodyHandlers.ofString());
        System.out.println("token " + answer.statusCode());
        token = member(answer.body(), "access_token");
    }

    /** Java sets no Content-Type of its own, so that each request has what the guide asks for and nothing else. */
    static HttpResponse<String> send(String path, String body) throws Exception {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(env.get("API_BASE_URL") + path))
                .timeout(Duration.ofSeconds(30))
                .header("Authorization", "Bearer " + token);
        if (provider.equals("altrata")) request.header("x-api-key", env.get("API_KEY"));
        if (provider.equals("engagifii")) request.header("api-version", "1.0").header("tenant-code", env.get("TENANT_CODE"));
        if (body != null) {
            if (!provider.equals("altrata")) request.header("Content-Type", "application/json");
            request.POST(HttpRequest.BodyPublishers.ofString(body));
        }
        return http.send(request.build(), HttpResponse.BodyHandlers.ofString());
    }

    static String call(String path, String body) throws Exception {
        HttpResponse<String> answer = send(path, body);
        if (answer.statusCode() == 401) {
            System.out.println("call 401 " + answer.body().trim());
            fetchToken();
            answer = send(path, body);
        }
        System.out.println("call " + answer.statusCode());
        if (answer.statusCode() != 200) throw new RuntimeException(answer.body());
        return answer.body();
    }

    static String list() throws Exception {
        switch (provider) {
            case "ahotu": return call("", "{\"query\":\"query { events(page: 0, size: 10) { totalCount data { id name { en } } } }\"}");
            case "altrata": return call("", "{\"query\":\"{ people(page: 0, size: 10) { data { id name } } }\"}");
            case "engagifii": return call("/api/1.0/event/list", "{\"PageNumber\":1,\"PageSize\":10,\"OnlyUpcoming\":true}");
            default: return call("/wallets", null);
        }
    }

    static String one(String id) throws Exception {
        String variables = ",\"variables\":{\"id\":\"" + id + "\"}}";
        switch (provider) {
            case "ahotu": return call("", "{\"query\":\"query ($id: ID!) { event(id: $id) { id name { en } } }\"" + variables);
            case "altrata": return call("", "{\"query\":\"query ($id: ID!) { person(id: $id) { id name } }\"" + variables);
            case "engagifii": return call("/api/1.0/event/" + id, null);
            default: return call("/wallets/" + id, null);
        }
    }

    /** The first member of that name: the JDK has no parser of JSON. */
    static String member(String json, String name) {
        return Pattern.compile("\"" + name + "\"\\s*:\\s*\"([^\"]*)\"").matcher(json).results().findFirst().orElseThrow().group(1);
    }
}
