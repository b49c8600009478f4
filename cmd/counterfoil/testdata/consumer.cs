using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Http;
using System.Net.Http.Headers;
using System.Text;
using System.Text.RegularExpressions;
using System.Threading.Tasks;

/// What an integrator writes with HttpClient, by each provider's guide. Its
/// arguments are the provider and a stale token. It prints what is answered.
static class Consumer
{
    static readonly HttpClient http = new HttpClient { Timeout = TimeSpan.FromSeconds(30) };
    static string provider, token;

    static string Env(string name) => Environment.GetEnvironmentVariable(name);

    static int Main(string[] args)
    {
        try
        {
            // Mono sometimes takes half a minute to exit while connections are open
            using (http) Run(args[0], args[1]).GetAwaiter().GetResult();
            return 0;
        }
        catch (Exception e)
        {
            Console.Error.WriteLine(e);
            return 1;
        }
    }

    static async Task Run(string name, string stale)
    {
        provider = name;
        await FetchToken();
        var id = Member(await List(), "id");
        Console.WriteLine("list " + id);
        Console.WriteLine("one " + Member(await One(id), "id"));
        token = stale;
        Console.WriteLine("one " + Member(await One(id), "id"));
    }

    static async Task FetchToken()
    {
        HttpRequestMessage request;
        if (provider == "altrata")
        {
            request = new HttpRequestMessage(HttpMethod.Post, Env("AUTH_URL") + "?grant_type=client_credentials");
            request.Headers.Add("x-api-key", Env("API_KEY"));
            var basic = Convert.ToBase64String(Encoding.UTF8.GetBytes(Env("API_USERNAME") + ":" + Env("API_PASSWORD")));
            request.Headers.Authorization = new AuthenticationHeaderValue("Basic", basic);
        }
        else
        {
            var engagifii = provider == "engagifii";
            var form = new Dictionary<string, string>
            {
                { "client_id", Env(engagifii ? "CLIENT_ID" : "API_CLIENT_ID") },
                { "client_secret", Env(engagifii ? "CLIENT_SECRET" : "API_CLIENT_SECRET") },
                { "grant_type", "client_credentials" },
            };
            if (engagifii) form["scope"] = "EventsApi";
            if (provider == "ahotu") form["scope"] = Env("API_SCOPE");
            request = new HttpRequestMessage(HttpMethod.Post, engagifii ? Env("IDENTITY_SERVER_URL") + "/connect/token" : Env("AUTH_URL"))
            {
                Content = new FormUrlEncodedContent(form),
            };
        }
        var answer = await http.SendAsync(request);
        Console.WriteLine("token " + (int)answer.StatusCode);
        token = Member(await answer.Content.ReadAsStringAsync(), "access_token");
    }

    // HttpClient takes a Content-Type only with content.
    static Task<HttpResponseMessage> Send(HttpMethod method, string path, string body)
    {
        var request = new HttpRequestMessage(method, Env("API_BASE_URL") + path);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", token);
        if (provider == "altrata") request.Headers.Add("x-api-key", Env("API_KEY"));
        if (provider == "engagifii")
        {
            request.Headers.Add("api-version", "1.0");
            request.Headers.Add("tenant-code", Env("TENANT_CODE"));
        }
        if (body != null) request.Content = new StringContent(body, Encoding.UTF8, "application/json");
        return http.SendAsync(request);
    }

    static async Task<string> Call(HttpMethod method, string path, string body = null)
    {
        var answer = await Send(method, path, body);
        if (answer.StatusCode == HttpStatusCode.Unauthorized)
        {
            Console.WriteLine("call 401 " + (await answer.Content.ReadAsStringAsync()).Trim());
            await FetchToken();
            answer = await Send(method, path, body);
        }
        Console.WriteLine("call " + (int)answer.StatusCode);
        var text = await answer.Content.ReadAsStringAsync();
        if (!answer.IsSuccessStatusCode) throw new Exception(text);
        return text;
    }

    static Task<string> List()
    {
        switch (provider)
        {
            case "ahotu": return Call(HttpMethod.Post, "", "{\"query\":\"query { events(page: 0, size: 10) { totalCount data { id name { en } } } }\"}");
            case "altrata": return Call(HttpMethod.Post, "", "{\"query\":\"{ people(page: 0, size: 10) { data { id name } } }\"}");
            case "engagifii": return Call(HttpMethod.Post, "/api/1.0/event/list", "{\"PageNumber\":1,\"PageSize\":10,\"OnlyUpcoming\":true}");
            default: return Call(HttpMethod.Get, "/wallets");
        }
    }

    static Task<string> One(string id)
    {
        var variables = ",\"variables\":{\"id\":\"" + id + "\"}}";
        switch (provider)
        {
            case "ahotu": return Call(HttpMethod.Post, "", "{\"query\":\"query ($id: ID!) { event(id: $id) { id name { en } } }\"" + variables);
            case "altrata": return Call(HttpMethod.Post, "", "{\"query\":\"query ($id: ID!) { person(id: $id) { id name } }\"" + variables);
            case "engagifii": return Call(HttpMethod.Get, "/api/1.0/event/" + id);
            default: return Call(HttpMethod.Get, "/wallets/" + id);
        }
    }

    // The first member of that name; a parser of JSON would be a package more.
    static string Member(string json, string name)
    {
        var match = Regex.Match(json, "\"" + name + "\"\\s*:\\s*\"([^\"]*)\"");
        if (!match.Success) throw new Exception("no " + name + " in " + json);
        return match.Groups[1].Value;
    }
}
